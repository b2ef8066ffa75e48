"""What opening a store does about unfinished work."""

from __future__ import annotations

import logging
from functools import partial

from hydra_cli.core.errors import StoreBusy
from hydra_cli.store import forgetting as store_forget
from hydra_cli.store import updating
from hydra_cli.store.journal import recover
from hydra_cli.store.open_tables import OpenTables

log = logging.getLogger("hydra_cli.store")


def recover_store(store: OpenTables) -> None:
    """Finish or undo what killed processes left; a busy or read-only store is left as it is."""
    if not any(store.folder.work.glob("op-*.json")):
        return
    try:
        with store.lock.held(wait=0):
            recover(
                store.folder.work,
                {
                    store_forget.OPERATION: partial(store_forget.finish, store),
                    updating.OPERATION: partial(updating.finish, store),
                },
            )
    except StoreBusy:
        # Whoever writes now is at work, and the next command looks again.
        return
    except PermissionError:
        log.warning("unfinished work found, but the store is read-only: nothing was done about it")
