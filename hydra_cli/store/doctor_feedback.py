"""Checks of the kept answers: the file, and people whose feedback goes against their history."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterable
from contextlib import closing

from hydra_cli.core.counting import counted
from hydra_cli.core.errors import HydraError
from hydra_cli.core.feedback import Feedback
from hydra_cli.store.answer_log import AnswerLog
from hydra_cli.store.findings import Finding, note, ok, problem
from hydra_cli.store.folder import StoreFolder

FEWEST = 8
"""So many answers must have been chosen from or edited before a person is talked about."""
SURE = 2.33
"""In standard deviations: one in a hundred people who choose by dice is named."""


def check_feedback(folder: StoreFolder) -> list[Finding]:
    """The file is whole; nobody's choices run against the order that their history gives."""
    if not folder.feedback.is_file():
        return []
    try:
        address = f"{folder.feedback.resolve().as_uri()}?mode=ro"
        with closing(sqlite3.connect(address, uri=True)) as db:
            verdict = str(db.execute("PRAGMA quick_check").fetchone()[0])
    except sqlite3.Error as error:
        verdict = str(error)
    if verdict != "ok":
        hint = f"delete {folder.feedback}; kept answers and feedback are lost with it"
        return [problem("feedback", f"the kept answers are damaged: {verdict[:80]}", hint=hint)]
    log = AnswerLog(folder.feedback)
    try:
        said = log.feedback()
    except (HydraError, ValueError, KeyError, TypeError) as error:
        return [problem("feedback", f"the feedback can't be read: {str(error)[:80]}")]
    finally:
        log.close()
    found = [
        note(
            "feedback",
            f"{user!r} mostly keeps what their history speaks against: "
            f"place {place:.1f} on average where {half:.1f} is chance ({counted(n, 'answer')})",
            hint="`hydra-pers feedback --list --user NAME` shows it, --undo takes a word back",
        )
        for user, (place, half, n) in sorted(contrary(said).items())
    ]
    return found or [ok("feedback", f"feedback on {counted(len(said), 'answer')}")]


def contrary(said: Iterable[Feedback]) -> dict[str, tuple[float, float, int]]:
    """People whose kept candidates stand low in the order in which they were scored.

    For each the mean place, what chance would give, and of how many answers. Acceptance
    and rejection don't count: they look at the first place alone.
    """
    places: dict[str, list[tuple[float, int]]] = {}
    for one in said:
        if (found := _place(one)) is not None:
            places.setdefault(one.user, []).append(found)
    named = {}
    for user, own in places.items():
        mean = sum(place for place, _ in own) / len(own)
        half = sum((n + 1) / 2 for _, n in own) / len(own)
        # A uniform place among n has the variance (n^2 - 1) / 12.
        spread = math.sqrt(sum((n * n - 1) / 12 for _, n in own)) / len(own)
        if len(own) >= FEWEST and mean - half > SURE * spread:
            named[user] = mean, half, len(own)
    return named


def _place(said: Feedback) -> tuple[float, int] | None:
    """The place of the candidate nearest to what was kept, from 1, and of how many."""
    if said.kind == "choose" and said.choice is not None and len(said.features) > 1:
        return float(said.choice), len(said.features)
    if said.kind == "edit" and len(said.grades) > 1 and max(said.grades) > min(said.grades):
        best = [i for i, grade in enumerate(said.grades, 1) if grade == max(said.grades)]
        return sum(best) / len(best), len(said.grades)
    return None
