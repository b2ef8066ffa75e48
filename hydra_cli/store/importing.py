"""An archive into a store: checked to its last row before anything changes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hydra_cli.core.encoders import EncoderInfo
from hydra_cli.core.errors import DataError
from hydra_cli.core.files import name_of, write_atomic
from hydra_cli.core.records import Record
from hydra_cli.store import tables, upkeep
from hydra_cli.store.answer_log import checked_row, user_of
from hydra_cli.store.archives import ANSWERS, Archive, Manifest, open_archive
from hydra_cli.store.errors import store_errors
from hydra_cli.store.exporting import FIELDS
from hydra_cli.store.lancedb_store import LanceHistoryStore
from hydra_cli.store.rows import mixed_keys

OPERATION = "import"
OTHER_ENCODER = (
    "the archive's vectors are of another encoder and were left out; "
    "they are made again when they are needed"
)
_BATCH = 20_000
_LINE_BYTES = 64 * 1024 * 1024
_HEADER_BYTES = 100 * 1024 * 1024
"""The largest header that the safetensors format allows."""


@dataclass(slots=True)
class Imported:
    """What became of an archive's contents."""

    records: int = 0
    present: int = 0
    conflicting: int = 0
    forgotten: int = 0
    vectors: int = 0
    files: int = 0
    answers: int = 0
    """Answers that were kept for feedback."""
    kept: int = 0
    """Heads and bases that the store had already and that the archive has differently."""
    notes: list[str] = field(default_factory=list)


def import_archive(path: Path, root: Path, *, restore: bool = False) -> Imported:
    """Add an archive to the store at ``root``, which is made where there is none."""
    return import_into(path, lambda: LanceHistoryStore.open(root, create=True), restore=restore)


def import_into(path: Path, opened: Callable[[], LanceHistoryStore], *, restore: bool) -> Imported:
    """Check an archive to its end, then open the store and add it."""
    with open_archive(path) as archive:
        manifest = archive.verified()
        _check_contents(archive, manifest)
        store = opened()
        done = Imported()
        with store_errors(store.folder.root, "import into"), store.lock.held():
            # Users whose records were refused as forgotten: their heads stay out, too.
            refused: set[str] = set()
            with store.noted(OPERATION, what=path.name):
                _add_records(store, archive, done, refused, restore=restore)
                _add_vectors(store, archive, manifest, done)
                _add_files(store, archive, manifest, done, refused)
                _add_answers(store, archive, done, refused)
    return done


def _check_contents(archive: Archive, manifest: Manifest) -> None:
    """Every row parses and every head is whole; DataError else."""
    records = sum(len(batch) for batch in _record_batches(archive))
    vectors = sum(rows.num_rows for rows in _vector_batches(archive, manifest.encoder))
    if (records, vectors) != (manifest.records, manifest.vectors):
        raise DataError(
            f"the archive is damaged: it counts {manifest.records} records and "
            f"{manifest.vectors} vectors, and holds {records} and {vectors}",
            hint="nothing was imported; export it again",
        )
    for _ in _answer_rows(archive):
        pass
    for file in manifest.files:
        if file.path.endswith(".safetensors"):
            _check_tensors(archive, file.path, file.size)


def _check_tensors(archive: Archive, name: str, size: int) -> None:
    with archive.open(name) as stream:
        header = int.from_bytes(stream.read(8), "little")
        text = stream.read(header) if header <= min(size, _HEADER_BYTES) else b""
    try:
        entries = {key: value for key, value in json.loads(text).items() if key != "__metadata__"}
        ends = [int(entry["data_offsets"][1]) for entry in entries.values()]
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise _bad(name, "it is no safetensors file") from error
    if 8 + header + max(ends, default=0) != size:
        raise _bad(name, "it is cut short")


def _record_batches(archive: Archive) -> Iterator[list[Record]]:
    """The archive's records, parsed strictly."""
    if "records.jsonl" in archive.names:
        yield from _from_jsonl(archive)
    if "records.parquet" in archive.names:
        yield from _from_parquet(archive)


def _from_jsonl(archive: Archive) -> Iterator[list[Record]]:
    batch: list[Record] = []
    number = 0
    with archive.open("records.jsonl") as lines:
        while line := lines.readline(_LINE_BYTES):
            number += 1
            try:
                row = json.loads(line)
                time = row["time"]
                row["time"] = None if time is None else datetime.fromisoformat(time)
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise _bad("records.jsonl", f"line {number} is no record") from error
            batch.append(_record(row, f"line {number}", "records.jsonl"))
            if len(batch) >= _BATCH:
                yield batch
                batch = []
    if batch:
        yield batch


def _from_parquet(archive: Archive) -> Iterator[list[Record]]:
    name = "records.parquet"
    number = 0
    with archive.open(name) as stream:
        try:
            for rows in pq.ParquetFile(stream).iter_batches(batch_size=_BATCH, columns=FIELDS):
                batch = []
                for row in rows.to_pylist():
                    number += 1
                    row["metadata"] = json.loads(row["metadata"]) if row["metadata"] else {}
                    batch.append(_record(row, f"row {number}", name))
                yield batch
        except (pa.ArrowException, KeyError, ValueError) as error:
            raise _bad(name, "it is no Parquet file of records") from error


def _record(row: dict[str, Any], where: str, name: str) -> Record:
    texts: list[Any] = [row.get(key) for key in FIELDS if key not in ("time", "metadata")]
    metadata, time = row.get("metadata"), row.get("time")
    if (
        not all(isinstance(text, str) for text in texts)
        or not isinstance(metadata, dict)
        or not all(isinstance(v, str) for v in metadata.values())
        or (time is not None and time.tzinfo is None)
    ):
        raise _bad(name, f"{where} is no record")
    record = Record(**{key: row[key] for key in FIELDS})
    try:
        "".join([*texts, *metadata, *metadata.values()]).encode()
    except UnicodeEncodeError as error:
        raise _bad(name, f"{where} holds half of a surrogate pair") from error
    return record


def _vector_batches(archive: Archive, encoder: EncoderInfo | None) -> Iterator[pa.Table]:
    name = "vectors.parquet"
    if name not in archive.names:
        return
    if encoder is None or not 0 < encoder.dimension < 1 << 16:
        raise _bad(name, "the manifest names no encoder for it")
    schema = tables.vector_schema(encoder)
    with archive.open(name) as stream:
        try:
            for batch in pq.ParquetFile(stream).iter_batches(batch_size=_BATCH):
                rows = pa.Table.from_batches([batch]).cast(schema)
                if any(rows[n].null_count for n in schema.names if n != "output_vector"):
                    raise _bad(name, "a vector is missing")
                yield rows
        except (pa.ArrowException, ValueError) as error:
            raise _bad(name, "it is no Parquet file of vectors") from error


def _add_records(
    store: LanceHistoryStore, archive: Archive, done: Imported, refused: set[str], *, restore: bool
) -> None:
    for batch in _record_batches(archive):
        result = store.add(batch, restore=restore)
        done.records += result.added
        done.present += result.present
        done.conflicting += len(result.conflicting)
        done.forgotten += len(result.forgotten)
        refused.update(name_of(record.user) for record in result.forgotten)


def _add_vectors(
    store: LanceHistoryStore, archive: Archive, manifest: Manifest, done: Imported
) -> None:
    if manifest.encoder is None or not manifest.vectors:
        return
    held = store.encoder
    if held is not None and held.fingerprint != manifest.encoder.fingerprint:
        done.notes.append(OTHER_ENCODER)
        return
    name = store.vectors_for_writing(manifest.encoder)
    known = mixed_keys(store.dataset(tables.RECORDS).to_table(columns=["user_key", "record_key"]))
    present = mixed_keys(store.dataset(name).to_table(columns=["user_key", "record_key"]))
    for rows in _vector_batches(archive, manifest.encoder):
        keys = mixed_keys(rows)
        new = np.isin(keys, known) & ~np.isin(keys, present)
        if new.any():
            store.table(name).add(rows.filter(pa.array(new)))
            done.vectors += int(new.sum())
    upkeep.upkeep(store.table(name))


def _add_files(
    store: LanceHistoryStore,
    archive: Archive,
    manifest: Manifest,
    done: Imported,
    refused: set[str],
) -> None:
    """Heads, bases and tasks, each whole; what the store has already stays."""
    for file in manifest.files:
        target = store.folder.root / file.path
        kind, _, rest = file.path.partition("/")
        wanted = kind == "models" or target == store.folder.tasks or kind == "heads"
        if not wanted or (kind == "heads" and rest.split("/")[0] in refused):
            continue
        data = archive.read(file.path, file.size)
        if not target.exists():
            write_atomic(target, data)
            done.files += 1
        elif target.read_bytes() != data:
            done.kept += 1
    if done.kept:
        done.notes.append(kept_note(done.kept))


def _answer_rows(archive: Archive) -> Iterator[dict[str, Any]]:
    """The archive's answers, each found to be one."""
    if ANSWERS not in archive.names:
        return
    with archive.open(ANSWERS) as lines:
        for number, line in enumerate(iter(lambda: lines.readline(_LINE_BYTES), b""), 1):
            try:
                row = json.loads(line)
                checked_row(row)
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise _bad(ANSWERS, f"line {number} is no answer") from error
            yield row


def _add_answers(
    store: LanceHistoryStore, archive: Archive, done: Imported, refused: set[str]
) -> None:
    """Answers of users whose records are here: a forgotten user's stay out."""
    known = {name_of(summary.user) for summary in store.users()} - refused
    rows = (row for row in _answer_rows(archive) if name_of(user_of(row)) in known)
    if ANSWERS in archive.names:
        done.answers = store.answer_log.load(rows)


def kept_note(count: int) -> str:
    """What is said where the store kept its own."""
    return (
        f"{count} of the archive's heads, bases or task lists differ from the store's, "
        "which were kept"
    )


def _bad(name: str, what: str) -> DataError:
    return DataError(
        f"the archive is damaged: {name}: {what}", hint="nothing was imported; export it again"
    )
