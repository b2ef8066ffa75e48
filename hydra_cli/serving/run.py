"""Running the application: a socket of its own, signals that drain, logs of one line."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from types import FrameType, TracebackType

import uvicorn

from hydra_cli.core.errors import UsageError
from hydra_cli.serving.app import build
from hydra_cli.serving.service import ServeOptions, Service

log = logging.getLogger("hydra_cli.serving")
_Exception = (
    tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
)


def bound(options: ServeOptions) -> socket.socket:
    """A socket that is bound and doesn't listen yet; UsageError where the address can't be had."""
    where = f"port {options.port} of {options.host}"
    try:
        found = socket.getaddrinfo(
            options.host, options.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as error:
        raise UsageError(f"--host can't be {options.host!r}: {error.strerror or error}") from error
    family, kind, protocol, _, address = found[0]
    made = socket.socket(family, kind, protocol)
    try:
        if sys.platform != "win32":
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
    except OSError as error:
        made.close()
        raise UsageError(
            f"{where} can't be had: {error.strerror or error}",
            hint="is a server running there already? --port takes another, 0 any that is free",
        ) from error
    return made


def run(service: Service, listener: socket.socket, *, on_ready: Callable[[], None]) -> int | None:
    """Serve until a signal, which is returned: requests under way end, new ones are refused.

    A second signal ends the process at once.
    """
    _log_lines()
    server = _Server(
        uvicorn.Config(
            build(service),
            lifespan="on",
            ws="none",
            log_config=None,
            access_log=False,
            # Who asks is never what a header says: X-Forwarded-For is not read.
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=max(1, round(service.options.drain_seconds)),
        ),
        on_ready,
    )
    server.run(sockets=[listener])
    return server.stopped_by


class _Server(uvicorn.Server):
    """Ends with a return, where uvicorn would raise its signal again after the drain."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self.stopped_by: int | None = None
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit:
            # Threads and calls would be waited for; what is stored is whole at any moment.
            os._exit(128 + sig)
        self.stopped_by, self.should_exit = sig, True
        if under_way := len(self.server_state.tasks):
            log.warning(
                "%s: %d under way are answered first; once more ends them",
                signal.Signals(sig).name,
                under_way,
            )


class _OneLine(logging.Formatter):
    """Of an exception, its type: the message may quote what a user wrote."""

    def formatException(self, ei: _Exception) -> str:  # noqa: N802
        return ""

    def format(self, record: logging.LogRecord) -> str:
        kind = record.exc_info[0] if record.exc_info else None
        said = " ".join(super().format(record).split())
        return f"{said} ({kind.__name__})" if kind else said


def _log_lines() -> None:
    handler = logging.StreamHandler(sys.stderr)
    if not os.environ.get("HYDRA_PERS_TRACEBACK"):
        handler.setFormatter(_OneLine("%(asctime)s %(levelname)s %(message)s"))
    for name in ("hydra_cli", "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.WARNING)
