"""The answer cache: concurrent, private, damaged, forgotten to the last byte."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_cli.core.errors import StoreError
from hydra_cli.core.files import name_of
from hydra_cli.core.protocols import ChatRequest, Sampling
from hydra_cli.llm.answer_cache import AnswerCache, StoredCall, cache_key


def call(*texts: str, start: int = 0) -> StoredCall:
    return StoredCall(start, tuple((text, None) for text in texts), 10, 3 * len(texts), 9)


def put(cache: AnswerCache, key: str, stored: StoredCall, *users: str) -> None:
    cache.put(key, stored, model="m", max_tokens=64, users=users)


def bytes_of(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()))


@pytest.fixture
def cache(tmp_path: Path) -> AnswerCache:
    return AnswerCache(tmp_path / "cache" / "answers.sqlite")


def test_calls_come_back_in_the_order_of_their_answers(cache: AnswerCache) -> None:
    put(cache, "k", call("c", start=2))
    put(cache, "k", StoredCall(0, (("a", -0.25), ("b", None)), 10, 6, 9))
    put(cache, "other", call("x"))
    first, second = cache.get("k")
    assert first == StoredCall(0, (("a", -0.25), ("b", None)), 10, 6, 9)
    assert second.answers == (("c", None),)
    assert cache.size() == 3


def test_looking_makes_no_file(cache: AnswerCache, tmp_path: Path) -> None:
    assert cache.get("k") == []
    assert cache.size() == 0
    assert cache.forget("u") == 0
    assert cache.model_history("m", max_tokens=64) is None
    assert not list(tmp_path.joinpath("cache").glob("*"))


def test_files_are_the_owner_s_alone(cache: AnswerCache, tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        put(cache, "k", call("a"))
    finally:
        os.umask(old)
    folder = tmp_path / "cache"
    assert folder.stat().st_mode & 0o777 == 0o700
    modes = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}
    assert set(modes.values()) == {0o600}
    assert "answers.sqlite" in modes


@given(text=st.text(max_size=60))
def test_any_text_survives(text: str) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        cache = AnswerCache(Path(folder) / "answers.sqlite")
        put(cache, "k", call(text), text)
        assert cache.get("k")[0].answers[0][0] == text
        assert cache.forget(text) == 1
        cache.close()


SAMPLINGS = st.builds(
    Sampling,
    n=st.just(1),
    temperature=st.floats(0, 2),
    top_p=st.floats(0.01, 1),
    max_tokens=st.integers(1, 99),
    stop=st.lists(st.text(max_size=3), max_size=2).map(tuple),
    seed=st.none() | st.integers(0, 9),
)
TEXTS = st.lists(st.text(max_size=6), min_size=1, max_size=3)


def request(texts: list[str], sampling: Sampling) -> ChatRequest:
    return ChatRequest(tuple({"role": "user", "content": t} for t in texts), sampling, "u")


@given(a=TEXTS, b=TEXTS, first=SAMPLINGS, second=SAMPLINGS)
def test_keys_are_equal_only_for_equal_requests(
    a: list[str], b: list[str], first: Sampling, second: Sampling
) -> None:
    same = a == b and first == second
    assert (cache_key("m", request(a, first)) == cache_key("m", request(b, second))) == same
    assert cache_key("m", request(a, first)) != cache_key("n", request(a, first))


def test_n_and_user_are_no_part_of_the_key() -> None:
    one = ChatRequest(({"role": "user", "content": "q"},), Sampling(n=1), "u")
    other = ChatRequest(({"role": "user", "content": "q"},), Sampling(n=8), "v")
    assert cache_key("m", one) == cache_key("m", other)


def test_forget_leaves_no_byte(cache: AnswerCache, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    for i in range(300):
        put(cache, f"a{i}", call(f"anna's secret number {i} " * 20), "anna")
        put(cache, f"b{i}", call(f"ben's answer {i} " * 20), "ben")
    assert b"anna's secret" in bytes_of(folder)
    assert cache.forget("anna") == 300
    left = bytes_of(folder)
    assert b"anna's secret" not in left
    assert b"ben's answer 299" in left
    assert cache.size() == 300
    assert cache.get("a5") == []
    assert name_of("anna").encode() not in left
    assert name_of("ben").encode() in left


def test_forget_while_another_process_has_it_open(cache: AnswerCache, tmp_path: Path) -> None:
    for i in range(50):
        put(cache, f"a{i}", call(f"anna's secret number {i} " * 20), "anna")
    other = AnswerCache(tmp_path / "cache" / "answers.sqlite")
    assert len(other.get("a1")) == 1
    assert cache.forget("anna") == 50
    assert b"anna's secret" not in bytes_of(tmp_path / "cache")
    assert other.get("a1") == []


def test_a_late_answer_of_a_forgotten_user_is_not_kept(cache: AnswerCache, tmp_path: Path) -> None:
    at_work = AnswerCache(tmp_path / "cache" / "answers.sqlite")
    assert at_work.get("k") == []  # before there is a file
    put(cache, "k", call("anna's"), "anna")
    put(cache, "both", call("of both"), "anna", "ben")
    assert cache.forget("anna") == 1
    put(at_work, "k", call("anna's late"), "anna")
    put(at_work, "c", call("of two"), "anna", "ben")
    assert at_work.get("both", users=["anna"])
    assert at_work.get("k") == []
    assert at_work.get("c")
    left = bytes_of(tmp_path / "cache")
    assert b"late" not in left
    assert name_of("anna").encode() not in left
    # Whoever comes back later begins anew.
    later = AnswerCache(tmp_path / "cache" / "answers.sqlite")
    put(later, "k", call("anna's new"), "anna")
    assert later.get("k")
    put(cache, "d", call("by the one that forgot"), "anna")
    assert cache.forget("anna") == 2


def test_a_file_of_a_release_that_kept_neither_seconds_nor_finishes(
    cache: AnswerCache, tmp_path: Path
) -> None:
    put(cache, "old", call("x"))
    cache.close()
    with sqlite3.connect(tmp_path / "cache" / "answers.sqlite") as db:
        db.execute("ALTER TABLE calls DROP COLUMN seconds")
        db.execute("ALTER TABLE calls DROP COLUMN finishes")
    db.close()
    put(cache, "new", StoredCall(0, (("y", None),), 1, 1, 1, 2.5, ("length",)))
    (old,), (new,) = cache.get("old"), cache.get("new")
    assert (old.seconds, old.finishes, old.why_ended) == (0.0, (), (None,))
    assert (new.seconds, new.finishes) == (2.5, ("length",))


def test_an_answer_shared_by_two_users_goes_with_the_last(cache: AnswerCache) -> None:
    put(cache, "k", call("same"), "anna")
    assert cache.get("k", users=["ben"])
    assert cache.forget("anna") == 0
    assert cache.get("k")
    assert cache.forget("ben") == 1
    assert cache.get("k") == []


def test_answers_of_nobody_are_not_forgotten(cache: AnswerCache) -> None:
    put(cache, "k", call("public"))
    assert cache.forget("anna") == 0
    assert cache.get("k")


def test_threads_and_processes_write_at_once(cache: AnswerCache, tmp_path: Path) -> None:
    path = tmp_path / "cache" / "answers.sqlite"
    script = (
        "import sys; from pathlib import Path\n"
        "from hydra_cli.llm.answer_cache import AnswerCache, StoredCall\n"
        "cache = AnswerCache(Path(sys.argv[1]))\n"
        "for i in range(100):\n"
        "    cache.put(f'{sys.argv[2]}-{i}', StoredCall(0, (('x', None),), 1, 1),"
        " model='m', max_tokens=1, users=['u'])\n"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", script, str(path), str(name)]) for name in range(2)
    ]
    threads = [
        threading.Thread(target=lambda n=n: [put(cache, f"t{n}-{i}", call("x")) for i in range(50)])
        for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [process.wait(60) for process in processes] == [0, 0]
    assert cache.size() == 2 * 100 + 4 * 50


@pytest.mark.parametrize("content", [b"not a database, but long enough to be read as one" * 20])
def test_a_damaged_file_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "answers.sqlite"
    path.write_bytes(content)
    with pytest.raises(StoreError, match="damaged") as caught:
        AnswerCache(path).get("k")
    assert "delete that file" in str(caught.value.hint)


def test_a_damaged_row_is_one_line(cache: AnswerCache, tmp_path: Path) -> None:
    put(cache, "k", call("a"))
    with sqlite3.connect(tmp_path / "cache" / "answers.sqlite") as db:
        db.execute("UPDATE calls SET answers = 'nonsense'")
    with pytest.raises(StoreError, match="damaged"):
        cache.get("k")


def test_a_folder_in_its_place_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "answers.sqlite").mkdir()
    with pytest.raises(StoreError):
        put(AnswerCache(tmp_path / "answers.sqlite"), "k", call("a"))


def test_model_history_averages(cache: AnswerCache) -> None:
    put(cache, "a", StoredCall(0, (("x", None),) * 8, 120, 80, 100))
    put(cache, "b", StoredCall(0, (("x", None),) * 2, 130, 40, 100))
    cache.put("c", StoredCall(0, (("x", None),), 5, 50, 100), model="other", max_tokens=64)
    found = cache.model_history("m", max_tokens=64)
    assert found is not None
    assert found.calls == 2
    assert found.prompt_ratio == 1.25
    assert found.answers_per_call == 8
    assert found.answer_tokens == 12
    unlike = cache.model_history("m", max_tokens=8)
    assert unlike is not None
    assert unlike.answer_tokens != unlike.answer_tokens  # NaN: no call with that setting


def test_model_history_tells_how_long_calls_took(cache: AnswerCache) -> None:
    put(cache, "old", StoredCall(0, (("x", None),), 90, 10, 90))  # no seconds: an old release's
    untimed = cache.model_history("m", max_tokens=64)
    assert untimed is not None
    assert untimed.timed_calls == 0
    assert untimed.call_seconds != untimed.call_seconds  # NaN
    put(cache, "a", StoredCall(0, (("x", None),), 90, 10, 90, seconds=2.0))
    cache.put("b", StoredCall(0, (("x", None),), 80, 20, 80, 6.0), model="m", max_tokens=8)
    found = cache.model_history("m", max_tokens=64)
    assert found is not None
    assert (found.timed_calls, found.call_seconds, found.token_seconds) == (2, 2.0, 0.04)
    other = cache.model_history("m", max_tokens=500)
    assert other is not None
    assert other.call_seconds == 4.0  # of all, since none has that limit
