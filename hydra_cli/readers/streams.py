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
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
_SINGLE_BYTE = {"cp1252": "cp1252", "latin_1": "cp1252", "cp1251": "cp1251"}
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
    """Other encodings read as UTF-8. What doesn't decode becomes bytes that no reader accepts."""

    def __init__(self, stream: BinaryIO, encoding: str) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(encoding)(self._errors(encoding))
        self._encode_errors = self._errors(encoding)
        self._ready = b""
        self._ended = False

    @staticmethod
    def _errors(encoding: str) -> str:
        """UTF-16 has halves of surrogate pairs, other encodings single bytes without a meaning."""
        return "surrogatepass" if encoding.startswith("utf-16") else "surrogateescape"

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
            self._ready = text.encode("utf-8", self._encode_errors)
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


def as_utf8(
    head: bytes, stream: BinaryIO, name: str, given: str | None = None
) -> tuple[bytes, BinaryIO, str]:
    """Head and stream as UTF-8 without a byte order mark, and the encoding that was read.

    ``given`` overrules what the head looks like. DataError where it is no text.
    """
    bom, encoding = _by_mark(head)
    if given is None and bom:
        stream.read(len(bom))
        head = head[len(bom) :]
    for magic, packer in _PACKED.items():
        if head.startswith(magic):
            raise DataError(f"{name} is packed ({packer})", hint="unpack it first")
    encoding = given or encoding or _guessed(head, name)
    if encoding in ("utf-8", "utf-8-sig"):
        return head, stream, encoding
    return *take_head(io.BufferedReader(_Utf8(stream, encoding), _CHUNK)), encoding


def known_encoding(name: str) -> str:
    """Python's name of a text encoding; LookupError where it knows none."""
    codec = codecs.lookup(name)
    if codec.name.startswith(("utf-32", "utf-7")) or not getattr(codec, "_is_text_encoding", True):
        raise LookupError(name)
    return codec.name


def _by_mark(head: bytes) -> tuple[bytes, str | None]:
    for bom, encoding in _MARKS.items():
        if head.startswith(bom):
            return bom, encoding
    return b"", None


def _guessed(head: bytes, name: str) -> str:
    """UTF-8 where the head is (nearly) that or JSON, else what its letters make likely."""
    if _low_controls(head) * 10 > len(head):
        raise _no_text(name)
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
        return "utf-8"
    except UnicodeDecodeError:
        pass
    text = head.decode("utf-8", "replace")
    broken = text.count("\N{REPLACEMENT CHARACTER}")
    whole = sum(1 for letter in text if letter > "\x7f") - broken
    if whole > broken or head.lstrip()[:1] in (b"{", b"["):
        # Single rows with wrong bytes are rejected; JSON is UTF-8 by its definition.
        if (_low_controls(head) + broken) * 10 > len(head):
            raise _no_text(name)
        return "utf-8"
    # Imported here: most sources are UTF-8.
    from charset_normalizer import from_bytes

    best = from_bytes(head, cp_isolation=list(_SINGLE_BYTE)).best()
    if best is None:
        raise _no_text(name)
    # Windows-1252 holds all of Latin-1's letters, and the quotes that people type.
    return _SINGLE_BYTE[best.encoding]


def _no_text(name: str) -> DataError:
    return DataError(
        f"{name} is binary, or text in an unknown encoding",
        hint="name its encoding with --encoding, or save it as UTF-8",
    )


def _low_controls(head: bytes) -> int:
    return sum(count for _, count in _low_bytes(head))


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
