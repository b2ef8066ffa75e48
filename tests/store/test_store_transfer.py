"""Export and import: exact, and nothing of a damaged or hostile archive gets in."""

from __future__ import annotations

import io
import json
import random
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from hydra_cli.core.errors import DataError, NotFound, UsageError
from hydra_cli.core.files import name_of, write_atomic
from hydra_cli.core.records import Record
from hydra_cli.store import forgetting as store_forget
from hydra_cli.store.archives import Manifest, describe_file
from hydra_cli.store.exporting import export_store
from hydra_cli.store.forgetting import Scope
from hydra_cli.store.importing import import_archive
from hydra_cli.store.lance_store import LanceStore
from hydra_cli.workflows.transfer import export_users
from tests.store.store_helpers import folder_bytes, opened, put_vectors, record
from tests.store.test_store import made

HEAD = save({"w": np.arange(6, dtype=np.float32)}, {"card": "{}"})


@pytest.fixture
def store(tmp_path: Path) -> LanceStore:
    store = opened(tmp_path / "store")
    for user in ("u1", "u2", "u3"):
        store.add([record(user, i) for i in range(5)])
        write_atomic(store.folder.heads_of(user) / f"{name_of('t')}.facets.safetensors", HEAD)
    put_vectors(store, "u1")
    put_vectors(store, "u3")
    write_atomic(store.folder.models / name_of("t") / "base.facets.safetensors", HEAD)
    write_atomic(store.folder.root / "tasks.json", b'{"version": 1, "tasks": {}}')
    return store


def everything(store: LanceStore) -> dict[str, tuple[list[Record], dict[str, list[bytes]]]]:
    found = {}
    for summary in store.users():
        own = store.records(summary.user)
        vectors: dict[str, list[bytes]] = {}
        for task in summary.tasks:
            pairs = store.vectors(summary.user, task, [r.id for r in own if r.task == task])
            for id_, pair in pairs.items():
                vectors[f"{task} {id_}"] = [v.tobytes() for v in pair if v is not None]
        found[summary.user] = (own, vectors)
    return found


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
@pytest.mark.parametrize("name", ["out", "out.tar", "out.tar.gz", "out.zip"])
def test_a_whole_store_round_trips(
    store: LanceStore, tmp_path: Path, name: str, format: str
) -> None:
    target = tmp_path / name
    manifest = export_users(store, target, [], format)
    assert (manifest.records, manifest.vectors, manifest.whole) == (15, 10, True)
    done = import_archive(target, tmp_path / "new")
    assert (done.records, done.vectors, done.files, done.notes) == (15, 10, 5, [])
    new = LanceStore.open(tmp_path / "new", create=False)
    assert everything(new) == everything(store)
    assert new.encoder == store.encoder
    for part in ("heads", "models", "tasks.json"):
        assert folder_bytes(new.folder.root / part) == folder_bytes(store.folder.root / part)
    again = import_archive(target, tmp_path / "new")
    assert (again.records, again.present, again.vectors, again.files) == (0, 15, 0, 0)
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_one_user_takes_nobody_along(store: LanceStore, tmp_path: Path) -> None:
    manifest = export_store(store, tmp_path / "out", users=["u1"])
    assert (manifest.records, manifest.vectors, manifest.whole) == (5, 5, False)
    assert [f.path for f in manifest.files if f.path.startswith(("models", "heads"))] == [
        f"heads/{name_of('u1')}/{name_of('t')}.facets.safetensors"
    ]
    assert b"u2" not in b"".join(folder_bytes(tmp_path / "out").values())


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(records=st.lists(made, max_size=8), format=st.sampled_from(["jsonl", "parquet"]))
def test_any_records_survive(
    tmp_path_factory: pytest.TempPathFactory, records: list[Record], format: str
) -> None:
    folder = tmp_path_factory.mktemp("any")
    store = opened(folder / "store")
    store.add(records)
    export_users(store, folder / "out.tar", [], format)
    import_archive(folder / "out.tar", folder / "new")
    assert everything(LanceStore.open(folder / "new", create=False)) == everything(store)


def test_a_flipped_byte_anywhere_is_refused(store: LanceStore, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export_store(store, out)
    target = opened(tmp_path / "new")
    target.add([record("u1", 1)])
    before = folder_bytes(target.folder.root)
    for path in [p for p in sorted(out.rglob("*")) if p.is_file() and p.name != "manifest.json"]:
        whole = path.read_bytes()
        for damaged in (
            whole[: len(whole) // 2],
            whole + b"x",
            bytes([whole[0] ^ 1]) + whole[1:],
            b"",
        ):
            path.write_bytes(damaged)
            with pytest.raises(DataError):
                import_archive(out, target.folder.root)
        path.unlink()
        with pytest.raises(DataError):
            import_archive(out, target.folder.root)
        path.write_bytes(whole)
    assert folder_bytes(target.folder.root) == before


def rehashed(out: Path, change: dict[str, object]) -> None:
    """A manifest that fits the files again, so that only their contents can be refused."""
    manifest = json.loads((out / "manifest.json").read_text())
    manifest["files"] = [
        {"path": f.path, "size": f.size, "sha256": f.sha256}
        for f in (describe_file(out, entry["path"]) for entry in manifest["files"])
    ]
    (out / "manifest.json").write_text(json.dumps(manifest | change))


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\xff\xfe",
        b"{}",
        b"[1]",
        b"null",
        b'{"user": 1, "task": "", "id": "", "input": "", "output": "", "time": null}',
        b'{"user": "\\ud800", "task": "", "id": "", "input": "", "output": "", "time": null,'
        b' "metadata": {}}',
        b'{"user": "", "task": "", "id": "", "input": "", "output": "", "time": "2020-01-01",'
        b' "metadata": {}}',
        b"[" * 100_000,
    ],
)
def test_rows_that_are_no_records_are_refused_before_a_store_is_made(
    store: LanceStore, tmp_path: Path, line: bytes
) -> None:
    out = tmp_path / "out"
    export_store(store, out)
    path = out / "records.jsonl"
    path.write_bytes(path.read_bytes() + line + b"\n")
    rehashed(out, {"records": 16})
    with pytest.raises(DataError):
        import_archive(out, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "change", [{"records": 3}, {"vectors": 3}, {"encoder": None}, {"format": 99}, {"files": 3}]
)
def test_a_manifest_that_lies_is_refused(
    store: LanceStore, tmp_path: Path, change: dict[str, object]
) -> None:
    out = tmp_path / "out"
    export_store(store, out)
    rehashed(out, change)
    with pytest.raises(DataError):
        import_archive(out, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_head_that_is_no_safetensors_is_refused(store: LanceStore, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export_store(store, out)
    head = next(out.glob("heads/*/*"))
    for damaged in (HEAD[:-1], b"\x80\x04pickle", b"", (1 << 62).to_bytes(8, "little") + HEAD[8:]):
        head.write_bytes(damaged)
        rehashed(out, {})
        with pytest.raises(DataError):
            import_archive(out, tmp_path / "new")


HOSTILE_PATHS = ["../evil", "/tmp/evil", "heads/../../evil", "heads/x/y.safetensors", "config.toml"]


@pytest.mark.parametrize("name", HOSTILE_PATHS)
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_no_path_outside_is_ever_written(
    store: LanceStore, tmp_path: Path, name: str, kind: str
) -> None:
    out = tmp_path / "out"
    export_store(store, out)
    manifest = json.loads((out / "manifest.json").read_text())
    digest = describe_file(out, "tasks.json")
    manifest["files"].append({"path": name, "size": digest.size, "sha256": digest.sha256})
    contents = {
        **folder_bytes(out),
        "manifest.json": json.dumps(manifest).encode(),
        name: (out / "tasks.json").read_bytes(),
    }
    archive = tmp_path / f"hostile.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(archive, "w") as zipped:
            for path, data in contents.items():
                zipped.writestr(path, data)
    else:
        with tarfile.open(archive, "w") as tarred:
            for path, data in contents.items():
                member = tarfile.TarInfo(path)
                member.size = len(data)
                tarred.addfile(member, io.BytesIO(data))
    before = folder_bytes(tmp_path)
    with pytest.raises(DataError):
        import_archive(archive, tmp_path / "new")
    assert folder_bytes(tmp_path) == before


def test_links_are_refused(store: LanceStore, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export_store(store, out)
    (out / "link").symlink_to("/etc/passwd")
    with pytest.raises(DataError):
        import_archive(out, tmp_path / "new")
    with tarfile.open(tmp_path / "out.tar", "w") as tarred:
        tarred.add(out, arcname=".")
    with pytest.raises(DataError):
        import_archive(tmp_path / "out.tar", tmp_path / "new")


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.binary(max_size=400), prefix=st.sampled_from([b"", b"PK\x03\x04", b"\x1f\x8b\x08"]))
def test_any_bytes_are_refused_or_read(tmp_path: Path, data: bytes, prefix: bytes) -> None:
    path = tmp_path / "archive"
    path.write_bytes(prefix + data)
    with pytest.raises(DataError):
        import_archive(path, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_cut_archive_is_refused(store: LanceStore, tmp_path: Path) -> None:
    for name in ("out.tar", "out.tar.gz"):
        target = tmp_path / name
        export_store(store, target)
        whole = target.read_bytes()
        for part in (10, len(whole) // 3, len(whole) // 2):
            target.write_bytes(whole[:part])
            with pytest.raises(DataError):
                import_archive(target, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_forgotten_users_stay_out_with_their_heads(store: LanceStore, tmp_path: Path) -> None:
    export_store(store, tmp_path / "out")
    store_forget.erase(store, Scope("u1"))
    done = import_archive(tmp_path / "out", store.folder.root)
    assert (done.records, done.present, done.forgotten, done.vectors) == (0, 10, 5, 0)
    assert not store.folder.heads_of("u1").exists()
    done = import_archive(tmp_path / "out", store.folder.root, restore=True)
    assert (done.records, done.vectors, done.files) == (5, 5, 1)


def test_vectors_of_another_encoder_stay_out(store: LanceStore, tmp_path: Path) -> None:
    export_store(store, tmp_path / "out")
    other = opened(tmp_path / "other")
    other.add([record("own", 1)])
    other.put_vectors("own", "t", "another", [("own-1", np.ones(4, np.float32), None)])
    done = import_archive(tmp_path / "out", other.folder.root)
    assert (done.records, done.vectors) == (15, 0)
    assert "another encoder" in done.notes[0]
    assert other.vectors("own", "t", ["own-1"])


def test_a_head_of_the_store_is_kept(store: LanceStore, tmp_path: Path) -> None:
    export_store(store, tmp_path / "out")
    head = store.folder.heads_of("u1") / f"{name_of('t')}.facets.safetensors"
    head.write_bytes(b"newer")
    assert import_archive(tmp_path / "out", store.folder.root).kept == 1
    assert head.read_bytes() == b"newer"


def test_bad_targets(store: LanceStore, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("mine")
    (tmp_path / "file.tar").write_text("mine")
    for target in ("full", "file.tar", "store/inside"):
        with pytest.raises(UsageError):
            export_users(store, tmp_path / target, [], "jsonl")
    with pytest.raises(UsageError):
        export_users(store, tmp_path / "new", [], "pickle")
    with pytest.raises(NotFound):
        export_users(store, tmp_path / "new", ["nobody"], "jsonl")
    with pytest.raises(NotFound):
        import_archive(tmp_path / "none", tmp_path / "other")
    assert not (tmp_path / "new").exists()
    assert not (tmp_path / "other").exists()


def fuzz_manifests(cases: int, valid: bytes) -> int:
    """Mutated manifests are read or refused as data; how many were refused."""
    chance, refused = random.Random(0), 0
    for _ in range(cases):
        data = bytearray(valid)
        for _ in range(chance.randint(1, 6)):
            at = chance.randrange(len(data))
            if chance.random() < 0.3:
                del data[at : at + chance.randint(1, 20)]
            elif chance.random() < 0.5:
                data[at : at + 1] = chance.choice([b"null", b"-1", b"[", b"}", b'"', b"1e999", b""])
            else:
                data[at] = chance.randrange(256)
            data = data or bytearray(b"{")
        try:
            Manifest.from_json(bytes(data))
        except DataError:
            refused += 1
    return refused


@pytest.mark.parametrize("cases", [2_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_mutated_manifests(store: LanceStore, tmp_path: Path, cases: int) -> None:
    export_store(store, tmp_path / "out")
    refused = fuzz_manifests(cases, (tmp_path / "out" / "manifest.json").read_bytes())
    assert cases // 10 < refused < cases
