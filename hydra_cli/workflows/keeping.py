"""Keep the answers that were given, so that people can say what they think of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from hydra_cli.core.errors import HydraError, NotFound
from hydra_cli.core.feedback import KeptAnswer, KeptCandidate
from hydra_cli.core.records import Answer

if TYPE_CHECKING:
    from hydra_cli.store.contract import Store


def keep_answer(store: Store, answer: Answer, *, days: int, note: Callable[[str], None]) -> bool:
    """Keep the answer for some days; False, and a note, where that can't be done.

    An answer is worth more than its being kept: no error of the store ends it.
    """
    if days < 1:
        return False
    try:
        return store.answer_log.keep(kept_of(answer), days=days)
    except HydraError as error:
        note(f"the answer can't be kept for feedback: {error.message}")
        return False


def kept_of(answer: Answer) -> KeptAnswer:
    """The answer as it is kept: of the records shown, the ids alone."""
    query, gate, details = answer.query, answer.standing.gate, answer.details
    drawn = details.get("answers") or [None]
    greedy = details.get("greedy")
    return KeptAnswer(
        id=answer.id,
        user=query.user,
        task=query.task,
        recipe=details.get("recipe", ""),
        query=query.text,
        text=answer.text,
        time=answer.time,
        candidates=tuple(map(KeptCandidate.of, answer.candidates)),
        evidence=tuple(scored.item.id for scored in answer.evidence),
        labels=query.labels,
        model=details.get("model"),
        n=len(details.get("answers", ())),
        stages={
            "source": answer.standing.source,
            "records": gate.records,
            "rerank": gate.rerank,
            "adapt": gate.adapt,
        },
        known={greedy: drawn[0]} if greedy and drawn[0] is not None else {},
        feature_set=details.get("feature_set", ""),
    )


LAST = "last"


def kept_answer(store: Store, answer_id: str, user: str | None) -> KeptAnswer:
    """The answer of this id, "last" being the newest.

    NotFound where none is kept and, in the same words, where it is another user's.
    """
    if answer_id == LAST:
        newest = store.answer_log.newest(user, limit=1)
        found = newest[0] if newest else None
    else:
        found = store.answer_log.get(answer_id)
    if found is None or user not in (None, found.user):
        raise no_answer(answer_id)
    return found


def no_answer(answer_id: str) -> NotFound:
    """The error where nothing is kept under the id."""
    if answer_id == LAST:
        return NotFound("no answer is kept", hint="`hydra-pers ask` keeps its answers")
    return NotFound(
        f"no answer {answer_id[:40]!r} is kept",
        hint="`ask` prints the id of its answer, which is kept for `answers_days` days",
    )
