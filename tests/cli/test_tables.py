"""Tables in terminals of any width."""

from __future__ import annotations

import pytest

from hydra_cli.cli.render import print_table

COLUMNS = ("user", "answers", "accepted", "chosen", "edited", "rejected", "acceptance", "words")
ROW = ("ann@example.org", 1234, 900, 100, 200, 34, "81%", "12")


@pytest.mark.parametrize("width", [80, 90, 120])
def test_headings_stay_whole(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    print_table(None, COLUMNS, [ROW])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    heading = next(line for line in lines if "answers" in line)
    assert all(column in heading for column in COLUMNS)
    assert all(str(cell) in "\n".join(lines) for cell in ROW[1:])


def test_lines_between_columns_give_way_only_where_they_have_to(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    print_table(None, COLUMNS, [ROW])
    assert "│" not in capsys.readouterr().out
    print_table(None, ("user", "text"), [("ann", "word " * 40)])
    assert "│" in capsys.readouterr().out
