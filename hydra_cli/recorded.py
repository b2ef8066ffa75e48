"""The part of ``Hydra`` that holds users' records: in, out, and gone for good."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from hydra_cli.warm import Warm

if TYPE_CHECKING:
    from hydra_cli.core.protocols import UserSummary
    from hydra_cli.core.records import Record
    from hydra_cli.store.archives import Manifest
    from hydra_cli.store.importing import Imported
    from hydra_cli.store.scope import Erased
    from hydra_cli.workflows.ingest import IngestOptions, IngestReport, RejectLog
    from hydra_cli.workflows.reindex import Reindexed


class Recorded(Warm):
    """Histories: ingested, read, erased, exported and imported."""

    def ingest(
        self,
        *sources: str | Path | Mapping[str, Any],
        columns: Mapping[str, str] | None = None,
        task: str | None = None,
        user: str | None = None,
        kind: str | None = None,
        **reading: Any,
    ) -> IngestReport:
        """Read files, or records given as mappings, into the store; twice adds nothing.

        ``columns`` maps fields to columns: ``{"user": "agent", "output": "reply"}``;
        ``reading`` are the command's other options: ``update=True``, ``encoding="cp1252"``,
        ``time_format``, ``keep=["channel"]``, ``restore=True``. DataError where no source
        has a usable record.
        """
        from hydra_cli.workflows import ingest_setup

        mapped = ",".join(f"{name}={column}" for name, column in (columns or {}).items())
        given = [source for source in sources if isinstance(source, Mapping)]
        paths = [Path(source) for source in sources if not isinstance(source, Mapping)]
        lines = "".join(json.dumps(dict(record), default=str) + "\n" for record in given)
        found: list[Path | None] = [None] if given else []
        if paths:
            found += ingest_setup.sources(paths, self.settings, io.BytesIO())[0]
        options = ingest_setup.options(mapped, task=task, user=user, **reading)
        return self.ingest_sources(found, io.BytesIO(lines.encode()), options, kind=kind)

    def ingest_sources(
        self,
        sources: Sequence[Path | None],
        stdin: BinaryIO,
        options: IngestOptions,
        *,
        kind: str | None = None,
        rejects: RejectLog | None = None,
    ) -> IngestReport:
        """``ingest`` of sources that were found already, None being ``stdin``."""
        from hydra_cli.workflows import ingest_setup
        from hydra_cli.workflows.ingest import ingest

        report = ingest(
            sources,
            self.store,
            ingest_setup.learner(self.settings, self.store, ingest_setup.given_kind(kind)),
            self.settings.tasks,
            options=options,
            stdin=stdin,
            progress=self._watched(),
            rejects=rejects,
        )
        self._heed_tasks()
        return report

    def users(self) -> list[UserSummary]:
        """Every user with their number of records, tasks and first and last time."""
        return self.store.users()

    def history(
        self, user: str, *, task: str | None = None, limit: int | None = None
    ) -> list[Record]:
        """The user's newest ``limit`` records, oldest first; NotFound for an unknown user."""
        from hydra_cli.workflows.browse import user_history

        return user_history(self.store, user, task=task, limit=limit)

    def forget(self, user: str, *, task: str | None = None, record: str | None = None) -> Erased:
        """Erase a user's records, vectors, heads and kept answers for good."""
        from hydra_cli.store.scope import Scope

        self.would_forget(user, task=task, record=record)
        return self.store.forget(Scope(user, task, record))

    def would_forget(
        self, user: str, *, task: str | None = None, record: str | None = None
    ) -> Erased:
        """What ``forget`` would erase, nothing being changed."""
        from hydra_cli.store.scope import Scope
        from hydra_cli.workflows.forget import plan_forget

        return plan_forget(self.store, Scope(user, task, record))

    def export(
        self, target: str | Path, *, users: Sequence[str] = (), format: str = "jsonl"
    ) -> Manifest:
        """Write some users, or with none named the whole store, in an open format."""
        from hydra_cli.workflows.transfer import export_users

        return export_users(self.store, Path(target), users, format)

    def import_archive(self, source: str | Path, *, restore: bool = False) -> Imported:
        """Add what ``export`` wrote; what is there already stays.

        ``restore`` also takes records that were forgotten before.
        """
        return self.store.import_archive(Path(source).expanduser(), restore=restore)

    def reindex(self) -> Reindexed:
        """Embed every record from its text, with the encoder that the settings name."""
        from hydra_cli.workflows.reindex import reindex

        return reindex(
            self.store,
            self._open_encoder(),
            closed=lambda task: self.settings.spec(task).closed,
            progress=self._watched(),
        )
