"""The store that a host program's plugins share: opened once, when it is first asked."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hydra_cli.api import Hydra

_lock = threading.Lock()
_opened: dict[Path | None, Hydra] = {}


def shared_hydra(store: Path | None = None) -> Hydra:
    """The store in that folder, else the one that the command line would use. It stays open.

    NotFound where there is none.
    """
    from hydra_cli.api import Hydra

    with _lock:
        if store not in _opened:
            _opened[store] = Hydra.open(store, create=False)
        return _opened[store]
