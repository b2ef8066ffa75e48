"""A store, or some of its users, as files of open formats."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hydra_cli import __version__
from hydra_cli.core.errors import NotFound, UsageError
from hydra_cli.core.files import name_of, os_errors, private_folder
from hydra_cli.store import tables
from hydra_cli.store.archives import (
    ANSWERS,
    FORMAT,
    MANIFEST,
    Manifest,
    check_target,
    describe_file,
    write_tar,
    write_zip,
)
from hydra_cli.store.errors import store_errors
from hydra_cli.store.keys import key_of
from hydra_cli.store.lock import private_files
from hydra_cli.store.open_tables import OpenTables

Format = Literal["jsonl", "parquet"]
FIELDS = ["user", "task", "id", "input", "output", "time", "metadata"]
TARS = (".tar", ".tar.gz", ".tgz")
_ROWS = 8192


def export_store(
    store: OpenTables, target: Path, *, users: Sequence[str] = (), format: Format = "jsonl"
) -> Manifest:
    """Write users (default: all) to a new folder, or to a tar or zip where the name ends so."""
    inside = target.resolve()
    if store.folder.root.resolve() in [inside, *inside.parents]:
        raise UsageError("an export can't go into the store's own folder", hint="name another --to")
    check_target(target)
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    packed = partial.with_name(partial.name + ".tar")
    with private_files(), os_errors(target):
        private_folder(partial)
        try:
            with store_errors(store.folder.root, "export"), store.lock.held():
                manifest = _write(store, partial, users, format)
            names = [MANIFEST, *(file.path for file in manifest.files)]
            if target.name.endswith(TARS):
                write_tar(partial, packed, names, gzipped=not target.name.endswith(".tar"))
                os.replace(packed, target)
            elif target.suffix == ".zip":
                write_zip(partial, packed, names)
                os.replace(packed, target)
            else:
                os.replace(partial, target)
        finally:
            packed.unlink(missing_ok=True)
            shutil.rmtree(partial, ignore_errors=True)
    return manifest


def _write(store: OpenTables, folder: Path, users: Sequence[str], format: Format) -> Manifest:
    chosen = sorted(set(users))
    where = f"user_key IN ({tables.int_list(map(key_of, chosen))})" if chosen else None
    names = [f"records.{format}"]
    writer = _write_jsonl if format == "jsonl" else _write_parquet
    found: set[str] = set()
    records = writer(_batches(store, where, chosen, found), folder / names[0])
    if missing := sorted(set(chosen) - found):
        raise NotFound(
            f"no records of user {missing[0][:80]!r}", hint="`hydra-pers users` lists them"
        )
    encoder, vectors = store.encoder, 0
    table = store.vector_table()
    if table is not None and encoder is not None:
        vectors = _write_vectors(store, table, where, folder / "vectors.parquet")
        names.append("vectors.parquet")
    names += _copy(store, folder, chosen)
    names += _write_answers(store, folder / ANSWERS, chosen)
    return _finish(folder, names, whole=not chosen, records=records, vectors=vectors, store=store)


def _finish(
    folder: Path,
    names: list[str],
    *,
    whole: bool,
    records: int,
    vectors: int,
    store: OpenTables,
) -> Manifest:
    manifest = Manifest(
        created_by=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        whole=whole,
        records=records,
        vectors=vectors,
        encoder=store.encoder if vectors else None,
        files=tuple(describe_file(folder, name) for name in names),
        # Releases that know no answers take the archives that hold none.
        format=FORMAT if ANSWERS in names else FORMAT - 1,
    )
    (folder / MANIFEST).write_bytes(manifest.to_json())
    return manifest


def _batches(
    store: OpenTables, where: str | None, chosen: list[str], found: set[str]
) -> Iterator[pa.RecordBatch]:
    """Rows in the order in which they were added; ``found`` collects the users."""
    exact = pa.array(chosen, pa.string())
    for batch in store.dataset(tables.RECORDS).to_batches(
        columns=FIELDS, filter=where, batch_size=_ROWS
    ):
        rows = batch.filter(pc.is_in(batch["user"], value_set=exact)) if chosen else batch
        found.update(pc.unique(rows["user"]).to_pylist())
        yield rows


def _write_jsonl(batches: Iterator[pa.RecordBatch], path: Path) -> int:
    count = 0
    with path.open("w", encoding="utf-8", newline="\n") as out:
        for batch in batches:
            for row in batch.to_pylist():
                out.write(json.dumps(_plain(row), ensure_ascii=False) + "\n")
            count += batch.num_rows
    return count


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    time, metadata = row["time"], row["metadata"]
    row["time"] = None if time is None else time.isoformat()
    row["metadata"] = json.loads(metadata) if metadata else {}
    return row


def _write_parquet(batches: Iterator[pa.RecordBatch], path: Path) -> int:
    count = 0
    schema = pa.schema([tables.RECORD_SCHEMA.field(name) for name in FIELDS])
    with pq.ParquetWriter(path, schema, compression="zstd") as out:
        for batch in batches:
            out.write_batch(batch.cast(schema))
            count += batch.num_rows
    return count


def _write_answers(store: OpenTables, path: Path, users: Sequence[str]) -> list[str]:
    """The answers that are kept, a line each; the file's name where there are any."""
    rows = list(store.answer_log.dump(users))
    if not rows:
        return []
    with path.open("w", encoding="utf-8", newline="\n") as out:
        out.writelines(json.dumps(row) + "\n" for row in rows)
    return [path.name]


def _write_vectors(store: OpenTables, name: str, where: str | None, path: Path) -> int:
    count = 0
    dataset = store.dataset(name)
    schema = pa.schema([_plain_lists(field) for field in dataset.schema])
    with pq.ParquetWriter(path, schema, compression="zstd") as out:
        for batch in dataset.to_batches(filter=where, batch_size=_ROWS):
            out.write_batch(batch.cast(schema))
            count += batch.num_rows
    return count


def _plain_lists(field: pa.Field) -> pa.Field:
    """Lists of any size: pyarrow before 26 can't read missing ones of a fixed size."""
    if pa.types.is_fixed_size_list(field.type):
        field = field.with_type(pa.list_(field.type.value_type))
    return field.remove_metadata()


def _copy(store: OpenTables, folder: Path, chosen: list[str]) -> list[str]:
    """Heads of the chosen users; of a whole store, bases and tasks too."""
    root = store.folder.root
    patterns = [f"heads/{name_of(user)}/*.safetensors" for user in chosen]
    if not chosen:
        patterns = ["heads/*/*.safetensors", "models/*/base.*.safetensors", store.folder.tasks.name]
    names = []
    for pattern in patterns:
        for path in sorted(root.glob(pattern)):
            # Temporary files of a writer at work begin with a dot.
            if path.name.startswith("."):
                continue
            name = path.relative_to(root).as_posix()
            private_folder((folder / name).parent)
            shutil.copyfile(path, folder / name)
            names.append(name)
    return names
