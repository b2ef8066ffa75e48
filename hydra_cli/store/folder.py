"""The store's folder: what lies where, and ``store.json``.

::

    store.json      schema version, encoder of the vectors
    config.toml     the user's settings
    tasks.json      tasks recognised at ingest
    api_keys.json   hashes of the keys to a server of the store
    lock            held by the one process that writes
    db/             LanceDB tables: records, forgotten, vectors_<encoder>
    models/         <task>/base.<recipe>.safetensors, trained on everyone
    heads/          <user>/<task>.<recipe>.safetensors
    cache/          answers.sqlite, the LLM's answers
    feedback.sqlite the answers that were given, for feedback on them
    eval/           answers to evaluations of files
    work/           journals and progress of unfinished work
    backups/        what a migration saved

User and task stand in paths as hashes (``files.name_of``) only.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hydra_cli import __version__
from hydra_cli.core.encoders import EncoderInfo
from hydra_cli.core.errors import StoreError, StoreVersion
from hydra_cli.core.files import name_of, private_folder, write_atomic

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class StoreCard:
    """``store.json``."""

    schema: int
    created_by: str
    created: str
    encoder: EncoderInfo | None = None

    @classmethod
    def new(cls) -> StoreCard:
        return cls(
            schema=SCHEMA,
            created_by=__version__,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def with_encoder(self, encoder: EncoderInfo | None) -> StoreCard:
        return replace(self, encoder=encoder)


class StoreFolder:
    """Paths of one store."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.card_file = root / "store.json"
        self.db = root / "db"
        self.lock = root / "lock"
        self.settings = root / "config.toml"
        self.tasks = root / "tasks.json"
        self.tasks_lock = root / ".tasks.lock"
        self.api_keys = root / "api_keys.json"
        self.api_keys_lock = root / ".api_keys.lock"
        self.evaluations = root / "eval"
        self.models = root / "models"
        self.heads = root / "heads"
        self.answers = root / "cache" / "answers.sqlite"
        self.feedback = root / "feedback.sqlite"
        self.work = root / "work"
        self.backups = root / "backups"

    def heads_of(self, user: str) -> Path:
        return self.heads / name_of(user)

    def head_file(self, user: str, task: str, recipe: str) -> Path:
        return self.heads_of(user) / f"{name_of(task)}.{recipe}.safetensors"

    def head_files(self, task: str, recipe: str) -> list[Path]:
        """Every user's head of a task."""
        return sorted(self.heads.glob(f"*/{name_of(task)}.{recipe}.safetensors"))

    def every_head(self) -> list[Path]:
        return sorted(self.heads.glob("*/*.safetensors"))

    def base_file(self, task: str, recipe: str) -> Path:
        return self.models / name_of(task) / f"base.{recipe}.safetensors"

    def base_files(self) -> Iterator[Path]:
        """The bases of every task and recipe."""
        return self.models.glob("*/base.*.safetensors")

    def work_of(self, user: str) -> list[Path]:
        """Unfinished work of one user."""
        return sorted(self.work.glob(f"{name_of(user)}*"))

    def make(self) -> None:
        for path in (self.root, self.db, self.work):
            private_folder(path)

    def save_card(self, card: StoreCard) -> None:
        write_atomic(self.card_file, (json.dumps(asdict(card), indent=2) + "\n").encode())

    def load_card(self) -> StoreCard:
        """``store.json``; StoreVersion where a newer release wrote it."""
        values = self._read()
        schema = values.get("schema")
        if isinstance(schema, int) and schema > SCHEMA:
            raise StoreVersion(
                f"the store at {self.root} has schema {schema}, this release knows {SCHEMA}",
                hint="upgrade hydra-pers (pip install -U hydra-pers); the store was not touched",
            )
        try:
            encoder = values.pop("encoder", None)
            card = StoreCard(**values, encoder=None if encoder is None else EncoderInfo(**encoder))
        except TypeError as error:
            raise self._damaged() from error
        return card

    def _read(self) -> dict[str, Any]:
        try:
            values = json.loads(self.card_file.read_text("utf-8"))
        except ValueError as error:
            raise self._damaged() from error
        if not isinstance(values, dict) or not isinstance(values.get("schema"), int):
            raise self._damaged()
        return values

    def _damaged(self) -> StoreError:
        return StoreError(
            f"{self.card_file} is damaged",
            hint="`hydra-pers doctor --fix` writes a new one; the records are not touched",
        )
