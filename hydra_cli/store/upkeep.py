"""Upkeep of the tables: merging files, indices, leaving nothing of deleted rows.

All of it runs under the writer lock. It uses Lance's own dataset calls, as
LanceDB's ``Table.optimize`` keeps a file in which few rows were deleted, and
with it their text.
"""

from __future__ import annotations

from datetime import timedelta

import lance
from lancedb.index import FTS, BTree
from lancedb.table import Table

FRAGMENT_ROWS = 262_144
"""Rows of a full data file."""
_TIERS = ((8_192, 32), (FRAGMENT_ROWS // 2, 48))
"""(rows, files): so many files of fewer rows are merged. Two tiers keep a stream of single
records from writing large files again and again."""
UNINDEXED_ROWS = 100_000
"""So many rows outside the index start a refresh, or a fifth of a large table."""
_INDEX = "user_key_idx"
_TEXT_INDEX = "input_idx"


def has_text_index(dataset: lance.LanceDataset) -> bool:
    return any(index.name == _TEXT_INDEX for index in dataset.describe_indices())


def build_text_index(table: Table) -> None:
    """The full-text index over inputs: 15 seconds for a million short records."""
    table.create_index("input", config=FTS(with_position=False), name=_TEXT_INDEX, replace=True)


def upkeep(table: Table) -> None:
    """After a write: merge small files once there are many, index rows once they are."""
    for rows, files in _TIERS:
        stats = table.to_lance().stats.dataset_stats(max_rows_per_group=rows)
        if stats["num_small_files"] >= files:
            table.to_lance().optimize.compact_files(
                target_rows_per_fragment=min(2 * rows, FRAGMENT_ROWS)
            )
            drop_old_versions(table)
    dataset = table.to_lance()
    if unindexed_rows(dataset) > max(UNINDEXED_ROWS, dataset.count_rows() // 5):
        refresh_indices(table)
        drop_old_versions(table)


def unindexed_rows(dataset: lance.LanceDataset) -> int:
    """Rows that the index over ``user_key`` doesn't cover yet."""
    if all(index.name != _INDEX for index in dataset.describe_indices()):
        return int(dataset.count_rows())
    return int(dataset.stats.index_stats(_INDEX)["num_unindexed_rows"])


def maintain(table: Table) -> None:
    """Merge every small file, refresh indices, drop old versions."""
    table.to_lance().optimize.compact_files(target_rows_per_fragment=FRAGMENT_ROWS)
    refresh_indices(table)
    drop_old_versions(table)


def refresh_indices(table: Table) -> None:
    """The indices over all rows: a scalar one is built anew, in under a second for a million."""
    refresh_index(table)
    if has_text_index(table.to_lance()):
        table.to_lance().optimize.optimize_indices(index_names=[_TEXT_INDEX])


def refresh_index(table: Table) -> None:
    if table.count_rows():
        table.create_index("user_key", config=BTree(), replace=True, name=_INDEX)


def drop_old_versions(table: Table) -> None:
    """Keep the newest version alone, and no file that it doesn't need."""
    table.to_lance().cleanup_old_versions(older_than=timedelta(0), delete_unverified=True)


def purge_deleted(table: Table) -> None:
    """Leave no byte of deleted rows: rewrite the files that held them, then prune.

    Indices go first, the one over ``user_key`` is built again. The full-text
    index is built again when the next search wants it.
    """
    for config in table.list_indices():
        table.drop_index(config.name)
    table.to_lance().optimize.compact_files(
        target_rows_per_fragment=FRAGMENT_ROWS, materialize_deletions_threshold=0.0
    )
    if any(part.deletion_file() is not None for part in table.to_lance().get_fragments()):
        # Compaction leaves overfull files alone.
        rewrite(table)
    refresh_index(table)
    drop_old_versions(table)


def rewrite(table: Table) -> None:
    """Every live row written anew, as one new version."""
    dataset = table.to_lance()
    lance.write_dataset(
        dataset.scanner().to_reader(),
        dataset.uri,
        schema=dataset.schema,
        mode="overwrite",
        max_rows_per_file=FRAGMENT_ROWS,
    )
