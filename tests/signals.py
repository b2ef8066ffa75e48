"""For processes that tests interrupt."""

from __future__ import annotations

import signal


def heed_interrupts() -> None:
    """As ``preexec_fn``: tests run in the background pass on that SIGINT is ignored there."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
