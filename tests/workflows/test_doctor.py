"""``doctor`` finds what is wrong, and --fix repairs what is safe."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from hydra_cli.cli.app import app
from hydra_cli.core.errors import HydraError, NotFound, StoreError
from hydra_cli.core.weights import Card, Weights
from hydra_cli.store import journal, tables
from hydra_cli.store.lance_store import LanceStore
from hydra_cli.workflows.doctor import examine, repair
from tests.store.store_helpers import (
    DIMENSION,
    ENCODER,
    folder_bytes,
    opened,
    put_vectors,
    record,
)

Damage = Callable[[LanceStore], None]


def weights(kind: str, **card: object) -> Weights:
    made = Card(kind=kind, recipe="facets", task="t", encoder=ENCODER, seed=0, **card)  # type: ignore[arg-type]
    return Weights(made, {"w": np.arange(6.0, dtype=np.float32)})


@pytest.fixture
def store(tmp_path: Path) -> LanceStore:
    store = opened(tmp_path / "store")
    store.add([record(user, i) for user in ("u1", "u2") for i in range(5)])
    put_vectors(store, "u1")
    base = weights("base")
    base.save(store.folder.base_file("t", "facets"))
    for user in ("u1", "u2"):
        head = weights("head", base=base.fingerprint, user=user)
        head.save(store.folder.head_file(user, "t", "facets"))
    return store


def problems(root: Path) -> list[str]:
    return [finding.check for finding in examine(root).findings if finding.level == "problem"]


def test_a_whole_store_is_well_and_stays_as_it_is(store: LanceStore) -> None:
    before = folder_bytes(store.folder.root)
    found = examine(store.folder.root)
    assert found.healthy, [f for f in found.findings if f.level == "problem"]
    assert {f.check for f in found.findings} >= {
        *("versions", "store.json", "records", "vectors", "heads", "permissions", "disk", "work")
    }
    after = folder_bytes(store.folder.root)
    assert after == before


def other_base(store: LanceStore) -> None:
    head = weights("head", base="another", user="u1")
    head.save(store.folder.head_file("u1", "t", "facets"))


def cut_head(store: LanceStore) -> None:
    path = store.folder.head_file("u1", "t", "facets")
    path.write_bytes(path.read_bytes()[:-3])


def moved_head(store: LanceStore) -> None:
    head = store.folder.head_file("u1", "t", "facets")
    head.replace(store.folder.head_file("u2", "t", "facets"))


def orphan_head(store: LanceStore) -> None:
    weights("head", user="nobody").save(store.folder.head_file("nobody", "t", "facets"))


def open_file(store: LanceStore) -> None:
    store.folder.card_file.chmod(0o644)


def open_folder(store: LanceStore) -> None:
    store.folder.heads.chmod(0o755)


def cut_card(store: LanceStore) -> None:
    store.folder.card_file.write_text('{"schema": 1')


def no_card(store: LanceStore) -> None:
    store.folder.card_file.unlink()


def orphan_vectors(store: LanceStore) -> None:
    store.table(tables.RECORDS).delete("id = 'u1-1'")


def bad_vectors(store: LanceStore) -> None:
    store.add([record("u3", 1), record("u3", 2)])
    nan = np.full(DIMENSION, np.nan, np.float32)
    store.put_vectors("u3", "t", ENCODER, [("u3-1", nan, None), ("u3-2", nan * 0 + 3, None)])


def other_vectors(store: LanceStore) -> None:
    from hydra_cli.core.encoders import EncoderInfo

    store.create_vector_table(EncoderInfo("other", 4))


def killed_ingest(store: LanceStore) -> None:
    (store.folder.work / "op-1.json").write_text(
        '{"operation": "ingest", "details": {"what": "a.jsonl"}}'
    )
    (store.folder.work / "op-1.json").chmod(0o600)


FIXABLE: dict[Damage, str] = {
    other_base: "heads",
    cut_head: "heads",
    moved_head: "heads",
    orphan_head: "heads",
    open_file: "permissions",
    open_folder: "permissions",
    cut_card: "store.json",
    no_card: "store.json",
    orphan_vectors: "vectors",
    bad_vectors: "vectors",
    other_vectors: "vectors",
    killed_ingest: "work",
}


@pytest.mark.parametrize("damage", FIXABLE, ids=lambda damage: damage.__name__)
def test_what_is_safe_is_repaired(store: LanceStore, damage: Damage) -> None:
    damage(store)
    kept = {summary.user: store.records(summary.user) for summary in store.users()}
    assert FIXABLE[damage] in problems(store.folder.root)
    assert repair(store.folder.root).healthy
    again = LanceStore.open(store.folder.root, create=False)
    assert {summary.user: again.records(summary.user) for summary in again.users()} == kept
    assert len(again.vectors("u1", "t", [f"u1-{i}" for i in range(5)])) >= 4


def test_a_damaged_base_is_told_and_kept(store: LanceStore) -> None:
    path = store.folder.base_file("t", "facets")
    path.write_bytes(b"x")
    assert "base" in problems(store.folder.root)
    repair(store.folder.root)
    assert path.read_bytes() == b"x"


def test_changed_rows_are_told(store: LanceStore) -> None:
    table = store.table(tables.RECORDS)
    table.update(where="id = 'u1-1'", values={"output": "changed"})
    table.add(table.to_arrow().slice(0, 1).cast(tables.RECORD_SCHEMA))
    found = [f.text for f in examine(store.folder.root).findings if f.check == "records"]
    assert found == [
        "1 of 11 records differ from their own hashes",
        "1 records stand in the table twice",
    ]


def every_file(root: Path) -> list[Path]:
    return [path for path in sorted(root.rglob("*")) if path.is_file()]


@pytest.mark.parametrize("how", ["cut", "deleted", "garbage"])
def test_a_damaged_file_in_every_place_is_one_clear_line(store: LanceStore, how: str) -> None:
    """No traceback, no hang, and nothing else in the folder changes."""
    store.search_text("u1", "t", "question", 1)
    (store.folder.root / "config.toml").write_text("k = 4\n")
    root = store.folder.root
    told: list[HydraError] = []
    for path in every_file(root):
        whole = path.read_bytes()
        if how == "cut":
            path.write_bytes(whole[: len(whole) // 2])
        elif how == "garbage":
            path.write_bytes(bytes(255 - byte for byte in whole))
        else:
            path.unlink()
        try:
            again = LanceStore.open(root, create=False)
            for user in ("u1", "u2"):
                again.records(user)
                again.vectors(user, "t", [f"{user}-1"])
            again.users()
        except HydraError as error:
            told.append(error)
        examine(root)
        path.write_bytes(whole)
    assert told, "no damage was noticed"
    for error in told:
        assert "\n" not in error.message
        assert error.hint


def test_exit_codes(store: LanceStore, tmp_path: Path) -> None:
    runner = CliRunner()
    root = str(store.folder.root)
    assert runner.invoke(app, ["doctor", "--store", root]).exit_code == 0
    open_file(store)
    failed = runner.invoke(app, ["doctor", "--store", root, "--json"])
    assert isinstance(failed.exception, StoreError)
    assert '"fixable": true' in failed.stdout
    assert runner.invoke(app, ["doctor", "--fix", "--store", root]).exit_code == 0
    with pytest.raises(NotFound):
        examine(tmp_path / "none")


def test_unfinished_work_is_only_looked_at(store: LanceStore) -> None:
    killed_ingest(store)
    examine(store.folder.root)
    assert journal.unfinished(store.folder.work)[0].operation == "ingest"


def test_an_interrupted_run_is_told_once_and_known_until_it_is_run_again(
    store: LanceStore, caplog: pytest.LogCaptureFixture
) -> None:
    killed_ingest(store)
    root = store.folder.root
    for _ in range(2):
        LanceStore.open(root, create=False)
    assert caplog.text.count("ingest of a.jsonl, begun on 2") == 1, "every command says it again"
    (found,) = [f for f in examine(root).findings if f.check == "work"]
    assert found.level == "problem"
    assert found.text.endswith(", was cut off; run it again to go on")
    with journal.noted_work(store.folder.work, "ingest", what="b.jsonl"):
        pass
    assert "work" in problems(root), "another file's ingest doesn't make up for it"
    with journal.noted_work(store.folder.work, "ingest", what="a.jsonl"):
        pass
    assert problems(root) == []
