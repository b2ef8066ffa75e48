"""Examine a store from end to end, and repair what is safe to repair."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hydra_cli.core.errors import HydraError, NotFound
from hydra_cli.store import doctor_feedback as feedback
from hydra_cli.store import doctor_files as files
from hydra_cli.store import doctor_tables as tables
from hydra_cli.store.errors import store_errors
from hydra_cli.store.findings import Finding, ok, problem
from hydra_cli.store.folder import StoreFolder
from hydra_cli.store.lancedb_store import LanceHistoryStore
from hydra_cli.store.recovery import recover_store
from hydra_cli.wiring import load_settings


@dataclass(frozen=True, slots=True)
class Examination:
    """Findings, and the checks that a repair was run for."""

    findings: tuple[Finding, ...]
    repaired: tuple[Finding, ...] = ()

    @property
    def healthy(self) -> bool:
        return all(finding.level != "problem" for finding in self.findings)


def examine(root: Path) -> Examination:
    """Look at everything, change nothing."""
    folder = StoreFolder(root)
    if not root.is_dir():
        raise NotFound(f"there is no store at {root}", hint="--store names another folder")
    if not folder.card_file.exists() and not folder.db.exists():
        raise NotFound(f"{root} is no store", hint="`hydra-pers ingest FILE` makes one")
    with store_errors(root, "examine"):
        found = files.check_versions()
        card, findings = tables.check_card(folder)
        found += findings
        if card is not None:
            found += _check_opened(LanceHistoryStore(folder))
        found += files.check_permissions(folder)
        found += files.check_disk(folder)
        found += files.check_work(folder)
        found += _check_settings(folder)
        found += files.check_answers(folder)
        found += feedback.check_feedback(folder)
    return Examination(tuple(found))


def _check_settings(folder: StoreFolder) -> list[Finding]:
    """config.toml and tasks.json can be read."""
    try:
        load_settings(folder.root)
    except HydraError as error:
        return [problem("settings", error.message, hint=error.hint or "correct the file by hand")]
    return [ok("settings", f"{folder.settings.name} and {folder.tasks.name} can be read")]


def _check_opened(store: LanceHistoryStore) -> list[Finding]:
    found = tables.check_tables(store)
    try:
        users = {summary.user for summary in store.users()}
    except HydraError:
        # Told above; without users no head can be called an orphan.
        return found
    encoder = store.encoder
    found += files.check_weights(
        store.folder, users, None if encoder is None else encoder.fingerprint
    )
    return found


def repair(root: Path) -> Examination:
    """Repair what is safe, then look again."""
    done: list[Finding] = []
    # A new store.json lets the tables be looked at, which may find more.
    for _ in range(2):
        _finish_work(root)
        repairs = [finding for finding in examine(root).findings if finding.repair is not None]
        for finding in repairs:
            assert finding.repair is not None
            try:
                with store_errors(root, "repair"):
                    finding.repair()
            except HydraError as error:
                done.append(problem(finding.check, error.message, hint=error.hint))
            else:
                done.append(finding)
        if not repairs:
            break
    return Examination(examine(root).findings, tuple(done))


def _finish_work(root: Path) -> None:
    folder = StoreFolder(root)
    try:
        folder.load_card()
    except (HydraError, OSError):
        return
    recover_store(LanceHistoryStore(folder))
