"""Every foreign error of the store's libraries and of the disk, as one StoreError."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from hydra_cli.core.errors import HydraError, StoreError

FOREIGN = (OSError, RuntimeError, ValueError, pa.ArrowException)
"""What LanceDB, Lance and Arrow raise for a bad file, a full disk or a lost race."""

_FULL = "free some disk space and run the same command again; what was committed is intact"
_ACCESS = "check who owns the folder and its permissions, or name another --store"
_DAMAGED = "run `hydra-pers doctor` to see what is damaged and what can be repaired"


@contextmanager
def store_errors(path: Path, doing: str = "use") -> Iterator[None]:
    """Translate whatever goes wrong inside the block into a StoreError with a hint."""
    try:
        yield
    except HydraError:
        raise
    except FOREIGN as error:
        raise translated(error, path, doing) from error
    except BaseException as error:
        # Lance's Rust core reports some damaged files by a panic, which isn't an Exception.
        if type(error).__name__ != "PanicException":
            raise
        raise translated(error, path, doing) from error


def translated(error: BaseException, path: Path, doing: str) -> StoreError:
    text = " ".join(str(error).split())
    code = error.errno if isinstance(error, OSError) else None
    lowered = text.lower()
    if code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or any(
        sign in lowered for sign in ("no space left", "quota exceeded", "file too large")
    ):
        return StoreError(f"can't {doing} the store at {path}: the disk is full", hint=_FULL)
    if code in (errno.EACCES, errno.EPERM, errno.EROFS) or any(
        sign in lowered for sign in ("permission denied", "read-only file system", "not permitted")
    ):
        return StoreError(f"can't {doing} the store at {path}: access refused", hint=_ACCESS)
    # Lance appends Rust source lines and query text; neither belongs in a user's line.
    first = text.split(", /", 1)[0].split(" at /", 1)[0]
    return StoreError(f"can't {doing} the store at {path}: {first[:160]}", hint=_DAMAGED)
