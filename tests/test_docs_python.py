"""The examples of docs/python.md run as they are printed, one after the other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hydra_cli import wiring
from hydra_cli.llm.scripted import ScriptedChat
from hydra_cli.models.hash_encoder import HashEncoder

PAGE = Path(__file__).resolve().parents[1] / "docs" / "python.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
REPLIES = """agent,sent,input,output
mia,2026-01-01,Is the bowl safe?,"Yes.
Mia"
mia,2026-01-02,Is the lamp safe?,"It is.
Mia"
mia,2026-01-04,Is the tray safe?,"Quite.
Mia"
mia,2026-01-05,Is the vase safe?,"Very.
Mia"
tom,2026-01-03,When does it ship?,"Today.
Tom"
"""


def test_the_examples_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(wiring, "open_encoder", lambda settings: HashEncoder())
    chat = ScriptedChat(lambda request, sample: "It may be washed.")
    monkeypatch.setattr(wiring, "open_chat", lambda *args, **options: chat)
    Path("replies.csv").write_text(REPLIES, "utf-8")
    assert len(BLOCKS) >= 5
    names: dict[str, object] = {}
    for block in BLOCKS:
        exec(compile(block, str(PAGE), "exec"), names)
    said = capsys.readouterr().out
    assert said.count("It may be washed.") == 3
    assert "mia" in said
    assert Path("backup.zip").exists()
