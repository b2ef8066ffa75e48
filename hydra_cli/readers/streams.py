"""Bytes of any source as UTF-8 lines of bounded length."""

from __future__ import annotations

import codecs
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from hydra_cli.core.errors import DataError
from hydra_cli.core.rows import MAX_RECORD

HEAD = 64 * 1024
_CHUNK = 1024 * 1024
_UTF16 = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_PACKED = {b"\x1f\x8b": "gzip", b"PK\x03\x04": "zip", b"(\xb5/\xfd": "zstd", b"BZh": "bzip2"}
_TEXT_CONTROLS = frozenset(b"\t\n\r\f\x1b\x08")


class _Prepended(io.RawIOBase):
    """A stream with the bytes that were already read from it put back."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        self._head = head
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]  # the stubs' Buffer needs 3.12
        data = self._head[: len(view)] if self._head else self._rest.read(len(view))
        self._head = self._head[len(data) :] if self._head else b""
        view[: len(data)] = data
        return len(data)


class _Utf8(io.RawIOBase):
    """UTF-16 read as UTF-8. What doesn't decode becomes bytes that no UTF-8 reader accepts."""

    def __init__(self, stream: BinaryIO, encoding: str) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(encoding)("surrogatepass")
        self._ready = b""
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]  # the stubs' Buffer needs 3.12
        while not self._ready and not self._ended:
            data = self._stream.read(_CHUNK)
            self._ended = not data
            try:
                text = self._decoder.decode(data, final=self._ended)
            except UnicodeDecodeError:
                # Half a character at the very end of the file.
                self._ready = b"\xff"
                break
            self._ready = text.encode("utf-8", "surrogatepass")
        part = self._ready[: len(view)]
        self._ready = self._ready[len(part) :]
        view[: len(part)] = part
        return len(part)


@contextmanager
def open_bytes(path: Path | None, stdin: BinaryIO) -> Iterator[BinaryIO]:
    """A file's bytes, or those of ``stdin`` where ``path`` is None."""
    if path is None:
        yield stdin
        return
    try:
        opened = path.open("rb")
    except OSError as error:
        raise DataError(f"can't read {path}: {error.strerror or error}") from error
    with opened:
        mode = os.fstat(opened.fileno()).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
            raise DataError(f"can't read {path}: neither a file nor a pipe")
        yield opened


def take_head(stream: BinaryIO) -> tuple[bytes, BinaryIO]:
    """The first HEAD bytes (fewer only at the end), and a stream that still has them."""
    parts: list[bytes] = []
    missing = HEAD
    while missing and (data := stream.read(missing)):
        parts.append(data)
        missing -= len(data)
    head = b"".join(parts)
    return head, io.BufferedReader(_Prepended(head, stream), _CHUNK)


def as_utf8(head: bytes, stream: BinaryIO, name: str) -> tuple[bytes, BinaryIO]:
    """Head and stream as UTF-8 without a byte order mark; DataError where it is no text."""
    for bom, encoding in _UTF16.items():
        if head.startswith(bom):
            stream.read(len(bom))
            return take_head(io.BufferedReader(_Utf8(stream, encoding), _CHUNK))
    if head.startswith(codecs.BOM_UTF8):
        stream.read(len(codecs.BOM_UTF8))
        head = head[len(codecs.BOM_UTF8) :]
    for magic, packer in _PACKED.items():
        if head.startswith(magic):
            raise DataError(f"{name} is packed ({packer})", hint="unpack it first")
    if _looks_binary(head):
        raise DataError(
            f"{name} is binary, or text in an unknown encoding",
            hint="hydra-pers reads UTF-8, UTF-16 with a byte order mark, and Parquet",
        )
    return head, stream


def _looks_binary(head: bytes) -> bool:
    """Over 10 % of control characters, or of bytes that are no UTF-8."""
    controls = sum(count for byte, count in _low_bytes(head))
    broken = head.decode("utf-8", "replace").count("\N{REPLACEMENT CHARACTER}")
    return (controls + broken) * 10 > len(head)


def _low_bytes(head: bytes) -> Iterator[tuple[int, int]]:
    for byte in (*range(32), 127):
        if byte not in _TEXT_CONTROLS:
            yield byte, head.count(byte)


def lines(stream: BinaryIO, limit: int = MAX_RECORD) -> Iterator[tuple[int, bytes | None]]:
    """Numbered lines from 1 on; None stands for a line longer than ``limit`` bytes."""
    number = 0
    readline = stream.readline
    while line := readline(limit + 1):
        number += 1
        if len(line) > limit:
            while not line.endswith(b"\n") and (line := readline(limit)):
                pass
            yield number, None
        else:
            yield number, line


@contextmanager
def read_errors(name: str) -> Iterator[None]:
    """Translate what the file system says while a source is read."""
    try:
        yield
    except OSError as error:
        raise DataError(f"can't read {name}: {error.strerror or error}") from error


def unless_empty(stream: BinaryIO) -> BinaryIO | None:
    """The stream, or None where it ends at once. Waits for the first byte."""
    first = stream.read(1)
    return io.BufferedReader(_Prepended(first, stream), _CHUNK) if first else None
