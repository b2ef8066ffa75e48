"""Damaged and random files: an answer or one HydraError, never a traceback or a hang.

110,000 cases, drawn with fixed seeds; a failing case names its seed.
"""

from __future__ import annotations

import io
import json
import random
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hydra_cli.core.errors import HydraError
from hydra_cli.core.tasks import PRESETS
from hydra_cli.store.memory import MemoryHistoryStore
from hydra_cli.workflows.ingest import IngestOptions, ingest
from hydra_cli.workflows.task_learning import TaskLearner

pytestmark = pytest.mark.slow

SECONDS = 5.0
"""The longest that one case may take."""
ROWS = [
    {"user": f"u{i}", "id": i, "input": f'ä "{i}",\n{{[', "output": ("bug", "4", "ok")[i % 3],
     "time": "2020-01-02T03:04:05Z", "metadata": {"a": [1, {"b": None}]}}
    for i in range(6)
]  # fmt: skip
LAMP = [
    {"id": f"q{i}", "user_id": "u", "input": "categories: [a, b] article: x",
     "profile": [{"id": str(j), "text": "t", "title": "x", "category": "a", "date": j}
                 for j in range(4)]}
    for i in range(2)
]  # fmt: skip
TOKENS = [b'"', b"\\", b"\\u", b"\\ud800", b"{", b"}", b"[", b"]", b",", b":", b"\n", b"\r\n",
          b"\0", b"\xff", b"\xef\xbb\xbf", b"\xff\xfe", b"1e999", b"-", b"9" * 40, b"null",
          b"true", b"\t", b";", b'""', b"[" * 300, b'{"a":' * 300, b"PAR1", b" ",
          "\N{PILE OF POO}".encode(), b"\xe2\x80\xa8", b"0001-01-01", b"NaN"]  # fmt: skip


def parquet() -> bytes:
    out = io.BytesIO()
    rows = [{**row, "metadata": "m"} for row in ROWS]
    pq.write_table(pa.Table.from_pylist(rows), out)
    return out.getvalue()


JSONL = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
CSV = "user,input,output,time\n" + 'u,"a\nb",4,2020\nv,c,5,1600000000\nw,"d ""e""",1,\n' * 3
SEEDS: dict[str, bytes] = {
    "jsonl": JSONL.encode(),
    "json": json.dumps(ROWS, indent=1).encode(),
    "lamp": json.dumps(LAMP).encode(),
    "csv": CSV.encode(),
    "utf-16": JSONL.encode("utf-16"),
    "csv-utf-16": CSV.encode("utf-16"),
}


class Silent:
    def start(self, label: str, total: int | None) -> None: ...

    def advance(self, steps: int = 1) -> None: ...

    def note(self, text: str) -> None: ...


def damaged(data: bytes, chance: random.Random) -> bytes:
    """A few flips, cuts, repeats and insertions of awkward tokens."""
    found = bytearray(data)
    for _ in range(chance.randint(1, 5)):
        at = chance.randrange(len(found) + 1)
        other = chance.randrange(len(found) + 1)
        start, end = min(at, other), min(max(at, other), min(at, other) + 64)
        match chance.randrange(5):
            case 0 if at < len(found):
                found[at] = chance.randrange(256)
            case 1:
                del found[start:end]
            case 2:
                found[at:at] = found[start:end]
            case 3:
                found[at:at] = chance.choice(TOKENS)
            case 4 if chance.random() < 0.3:
                del found[at:]
    return bytes(found)


def noise(chance: random.Random) -> bytes:
    """Random bytes, or random tokens, which get further into the parsers."""
    if chance.random() < 0.3:
        return chance.randbytes(chance.randrange(200))
    return b"".join(chance.choices(TOKENS, k=chance.randrange(40)))


def check(path: Path | None, data: bytes, case: object) -> None:
    learner = TaskLearner(PRESETS, {}, lambda spec: spec)
    start = time.perf_counter()
    try:
        report = ingest(
            [path],
            MemoryHistoryStore(),
            learner,
            PRESETS,
            options=IngestOptions(),
            stdin=io.BytesIO(data),
            progress=Silent(),
        )
    except HydraError:
        pass
    except Exception as error:  # what is looked for: anything else that comes out
        raise AssertionError(f"case {case}: {error!r} from {data!r}") from error
    else:
        assert report.added + report.present > 0, case
    assert time.perf_counter() - start < SECONDS, case


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", sorted(SEEDS))
def test_damaged_texts(seed: str) -> None:
    for case in range(13_000):
        check(None, damaged(SEEDS[seed], random.Random(f"{seed} {case}")), (seed, case))


@pytest.mark.timeout(1800)
def test_noise() -> None:
    for case in range(20_000):
        check(None, noise(random.Random(case)), case)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".json", ".parquet"])
def test_files_that_lie_about_their_format(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    for case in range(1_500):
        chance = random.Random(f"{suffix} {case}")
        seed = SEEDS[chance.choice(sorted(SEEDS))]
        data = damaged(seed, chance) if chance.random() < 0.5 else noise(chance)
        path.write_bytes(data)
        check(path, data, (suffix, case))


@pytest.mark.timeout(1800)
def test_damaged_parquet() -> None:
    whole = parquet()
    for case in range(6_000):
        check(None, damaged(whole, random.Random(case)), case)
