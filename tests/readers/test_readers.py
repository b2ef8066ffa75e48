"""Files of every format as rows, good and broken ones."""

from __future__ import annotations

import io
import json
import os
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_cli.core.errors import DataError
from hydra_cli.core.rows import MAX_RECORD
from hydra_cli.readers import BadRow, Row, find_files, iter_rows, open_source
from hydra_cli.readers import jsonl as jsonl_reader
from hydra_cli.readers.jsonl import split_array
from hydra_cli.readers.streams import lines

ROWS = [{"user": "ü", "input": "a\nb", "output": 'say "x", y'}, {"user": "v", "input": "", "n": 1}]


def read(tmp_path: Path, name: str, data: bytes) -> list[Row | BadRow]:
    path = tmp_path / name
    path.write_bytes(data)
    return list(iter_rows(path, io.BytesIO()))


def fields(rows: list[Row | BadRow]) -> list[dict[str, object]]:
    assert all(isinstance(row, Row) for row in rows), rows
    return [row.fields for row in rows if isinstance(row, Row)]


def json_lines(rows: list[dict[str, object]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("form", ["jsonl", "json", "csv"])
def test_encodings(tmp_path: Path, encoding: str, form: str) -> None:
    rows = [{"user": "ü🧑‍🚀", "input": "a\nb"}]
    text = {
        "jsonl": json_lines(rows),
        "json": json.dumps(rows, ensure_ascii=False, indent=1),
        "csv": 'user,input\r\nü🧑‍🚀,"a\nb"\r\n',
    }[form]
    bom = "\ufeff" if encoding in ("utf-16-le", "utf-16-be") else ""
    assert fields(read(tmp_path, f"x.{form}", (bom + text).encode(encoding))) == rows


def test_lines_are_numbered_and_bad_ones_passed_over(tmp_path: Path) -> None:
    data = b'{"a": 1}\n\n{"a": \n[1]\n{"a": "\x00"}\n{"a": "\xff"}\n"x"\n{"a": "\\ud800"}\n{"a": 2}'
    rows = read(tmp_path, "x.jsonl", data)
    assert [row.line for row in rows] == [1, 3, 4, 5, 6, 7, 8, 9]
    good = [row.fields for row in rows if isinstance(row, Row)]
    assert good == [{"a": 1}, {"a": 2}]
    reasons = [row.reason for row in rows if isinstance(row, BadRow)]
    assert reasons[0].startswith("not valid JSON")
    assert reasons[1:4] == ["not a JSON object", "a NUL byte", "not valid UTF-8"]
    assert reasons[4] == "not a JSON object"
    assert "surrogate" in reasons[5]


def test_lines_over_the_limit_are_rejected_and_the_next_one_read() -> None:
    data = b"a" * 10 + b"\n" + b"b" * 11 + b"\nc\n" + b"d" * 30
    assert list(lines(io.BytesIO(data), limit=11)) == [
        (1, b"a" * 10 + b"\n"),
        (2, None),
        (3, b"c\n"),
        (4, None),
    ]


def test_a_record_of_10_mb_is_read_and_one_of_17_mb_is_not(tmp_path: Path) -> None:
    data = json_lines([{"a": "x" * 10_000_000}, {"a": "y" * 17_000_000}, {"a": "z"}]).encode()
    first, second, third = read(tmp_path, "x.jsonl", data)
    assert isinstance(first, Row)
    assert len(first.fields["a"]) == 10_000_000
    assert second == BadRow(2, "longer than 16 MB")
    assert third == Row(3, {"a": "z"})


def test_a_broken_array_entry_does_not_stop_the_rest(tmp_path: Path) -> None:
    data = b'[{"a": 1}, {"a": nope}, 3, {"a": "],[\\"{"}, {"a": [[{}]]}]'
    rows = read(tmp_path, "x.json", data)
    assert [type(row) for row in rows] == [Row, BadRow, BadRow, Row, Row]
    assert rows[3] == Row(4, {"a": '],["{'})


def test_a_cut_off_array_gives_its_whole_entries_first(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(b'[{"a": 1}, {"a": 2}, {"a')
    rows = iter_rows(path, io.BytesIO())
    assert next(rows) == Row(1, {"a": 1})
    assert next(rows) == Row(2, {"a": 2})
    with pytest.raises(DataError, match="ends in the middle, after 2 whole entries"):
        next(rows)


def test_text_after_an_array_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="text after"):
        read(tmp_path, "x.json", b'[{"a": 1}] {"a": 2}')


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.lists(JSON, max_size=6), st.integers(1, 40), st.booleans())
def test_arrays_split_as_json_does(value: list[object], chunk: int, spaced: bool) -> None:
    text = json.dumps(value, ensure_ascii=False, indent=1 if spaced else None).encode(
        "utf-8", "surrogatepass"
    )

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(min(chunk, size or chunk))

    parts = [part for part in split_array(Slow(text), "x") if part is not None]
    assert [json.loads(part.decode("utf-8", "surrogatepass")) for part in parts] == value


def test_an_oversize_array_entry_is_passed_over() -> None:
    data = b'["a", "' + b"x" * 50 + b'", "b"]'
    assert list(split_array(io.BytesIO(data), "x", limit=20)) == [b'"a"', None, b' "b"']


def test_deep_nesting_is_a_bad_row(tmp_path: Path) -> None:
    deep = b"[" * 50_000 + b"]" * 50_000
    rows = read(tmp_path, "x.json", b'[{"a": ' + deep + b'}, {"a": 1}]')
    assert isinstance(rows[0], BadRow)
    assert rows[1] == Row(2, {"a": 1})


@pytest.mark.parametrize(
    ("name", "text", "delimiter"),
    [("x.csv", "a,b\n1,2\n", ","), ("x.csv", "a;b\n1;2\n", ";"), ("x.tsv", "a\tb\n1\t2\n", "\t"),
     ("x.txt", "a|b\n1|2\n", "|")],
)  # fmt: skip
def test_delimiters(tmp_path: Path, name: str, text: str, delimiter: str) -> None:
    assert fields(read(tmp_path, name, text.encode())) == [{"a": "1", "b": "2"}]


def test_csv_faults_reject_their_row_alone(tmp_path: Path) -> None:
    # The head is UTF-8, so that a later wrong byte is the row's own fault.
    data = b'a,b\n1,"x\ny"\n1\n1,2,3\n1,\xff\n1,a\x00b\n\n1,2\n\xc3\xa4\xc3\xb6\n'
    rows = read(tmp_path, "x.csv", data)
    good = [row for row in rows if isinstance(row, Row)]
    assert good == [Row(2, {"a": "1", "b": "x\ny"}), Row(9, {"a": "1", "b": "2"})]
    bad = [(row.line, row.reason) for row in rows if isinstance(row, BadRow)]
    assert bad[:3] == [
        (4, "1 cells where the header has 2"),
        (5, "3 cells where the header has 2"),
        (6, "not valid UTF-8"),
    ]
    assert bad[3][0] == 7
    assert "NUL" in bad[3][1]


LETTER = 'Kunde;Antwort\nJörg;"Schöne Grüße für „Sie“,\r\n20 € zurück"\n'


@pytest.mark.parametrize(
    ("written", "read_as"),
    [("cp1252", "cp1252"), ("utf-8", "utf-8"), ("utf-8-sig", "utf-8-sig"), ("utf-16", "utf-16-le")],
)
def test_encodings_are_told_from_the_first_bytes(
    tmp_path: Path, written: str, read_as: str
) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(LETTER.encode(written))
    with open_source(path, io.BytesIO()) as source:
        assert source.encoding == read_as
        (row,) = source.rows
    assert isinstance(row, Row)
    assert row.fields == {"Kunde": "Jörg", "Antwort": "Schöne Grüße für „Sie“,\r\n20 € zurück"}


def test_a_byte_without_meaning_is_rejected_and_no_other_row(tmp_path: Path) -> None:
    good = "Jörg;Grüße an alle Köche\n".encode("cp1252")
    path = tmp_path / "x.csv"
    path.write_bytes(b"a;b\n" + good * 5000 + b"x;\x81\n" + good)
    with open_source(path, io.BytesIO()) as source:
        rows = list(source.rows)
    assert [row.line for row in rows if isinstance(row, BadRow)] == [5002]
    assert len(rows) == 5002


def test_wrong_bytes_after_a_plain_head_are_never_guessed(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(b"a;b\n" + b"plain;text\n" * 20_000 + "Jörg;x\n".encode("cp1252"))
    with open_source(path, io.BytesIO()) as source:
        assert [row.reason for row in source.rows if isinstance(row, BadRow)] == ["not valid UTF-8"]
    with open_source(path, io.BytesIO(), encoding="cp1252") as source:
        assert "Jörg" in [row.fields["a"] for row in source.rows if isinstance(row, Row)]


def test_a_doubled_header_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the column 'a' twice"):
        read(tmp_path, "x.csv", b"a,a\n1,2\n")


def test_an_overlong_csv_line_is_rejected(tmp_path: Path) -> None:
    rows = read(tmp_path, "x.csv", b"a,b\n1," + b"x" * (MAX_RECORD + 10) + b"\n3,4\n")
    assert isinstance(rows[0], BadRow)
    assert rows[1] == Row(3, {"a": "3", "b": "4"})


def test_parquet(tmp_path: Path) -> None:
    table = pa.table(
        {
            "user": ["u", "v"],
            "time": pa.array([1, 1_520_512_200_000_000_001], pa.timestamp("ns", tz="UTC")),
            "tags": [["a"], None],
        }
    )
    path = tmp_path / "x.parquet"
    pq.write_table(table, path)
    rows = fields(list(iter_rows(path, io.BytesIO())))
    assert [row["user"] for row in rows] == ["u", "v"]
    assert str(rows[1]["time"]) == "2018-03-08 12:30:00+00:00"
    assert fields(list(iter_rows(None, io.BytesIO(path.read_bytes())))) == rows


def test_parquet_through_a_pipe_is_spooled(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"a": list(range(10_000))}), path)
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    writer = threading.Thread(target=lambda: fifo.write_bytes(path.read_bytes()))
    writer.start()
    assert len(list(iter_rows(fifo, io.BytesIO()))) == 10_000
    writer.join()


def test_one_unreadable_parquet_value_rejects_its_row(tmp_path: Path) -> None:
    far = pa.array([0, 2**62], pa.timestamp("us"))
    pq.write_table(pa.table({"a": ["x", "y"], "time": far}), tmp_path / "x.parquet")
    first, second = iter_rows(tmp_path / "x.parquet", io.BytesIO())
    assert isinstance(first, Row)
    assert isinstance(second, BadRow)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("x.jsonl", b"", "is empty"),
        ("x.json", b" \n\n", "is empty"),
        ("x.csv", b"\xef\xbb\xbf", "is empty"),
        ("x.jsonl", b"\x7fELF\x02\x01\x01" + bytes(range(256)) * 9, "is binary"),
        ("x.jsonl", '{"a": 1}'.encode("utf-16-le"), "is binary"),
        ("x.jsonl", b"\x1f\x8b\x08\x00" + b"x" * 50, "is packed \\(gzip\\)"),
        ("x.parquet", b'{"a": 1}', "is no Parquet file"),
        ("x.parquet", b"PAR1 and then nonsense", "can't be read as Parquet"),
        ("x.txt", b"just some prose", "can't tell the format"),
        ("x.json", b'{"task": "LaMP_4", "golds": []}', "reference answers"),
    ],
)
def test_unusable_files(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, name, data)


def test_missing_unreadable_and_odd_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        find_files([tmp_path / "nowhere"])
    with pytest.raises(DataError, match="can't read"), open_source(tmp_path, io.BytesIO()):
        pass


def test_folders_are_searched_for_known_suffixes(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a/x.CSV", "a/y.txt", ".hidden.json", ".git/z.json", "store/t.json"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("{}")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    found = find_files([tmp_path, tmp_path / "b.jsonl"], skip=tmp_path / "store")
    assert [str(path.relative_to(tmp_path)) for path in found] == ["b.jsonl", "a/x.CSV"]


def test_memory_is_constant_over_a_long_array(tmp_path: Path) -> None:
    import tracemalloc

    path = tmp_path / "x.json"
    entry = json.dumps({"a": "x" * 10_000})
    path.write_text("[" + ",".join([entry] * 2_000) + "]")
    tracemalloc.start()
    count = sum(1 for _ in iter_rows(path, io.BytesIO()))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 2_000
    assert peak < 6 * jsonl_reader._CHUNK
