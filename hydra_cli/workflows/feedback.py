"""What people say about answers: written down, learned from, and made a record of theirs.

The log is the truth. Records follow it: whoever writes to the log brings them in
line, and looks again, so that two who speak at once end with what was said last. A
process that dies in between leaves its word unsettled, and the next one settles it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from hydra_cli.core.errors import NotFound, UsageError
from hydra_cli.core.feedback import (
    FEEDBACK_ID,
    Feedback,
    KeptAnswer,
    Kind,
    about,
    edit_grades,
    record_id,
)
from hydra_cli.core.sortable_ids import new_id
from hydra_cli.workflows.keeping import kept_answer, no_answer

if TYPE_CHECKING:
    from hydra_cli.core.tasks import TaskSpec
    from hydra_cli.store.contract import Store

MOST_CHARACTERS = 100_000
"""An edit may be so long."""


def give(
    store: Store,
    answer: KeptAnswer,
    task: TaskSpec,
    *,
    accept: bool = False,
    reject: bool = False,
    choose: int | None = None,
    edit: str | None = None,
    accepted_records: bool = False,
) -> tuple[Feedback, Feedback | None]:
    """Write down what was said about an answer; it, and what it replaces.

    UsageError where nothing or several things are said, and for what can't be said
    of this answer; NotFound where the answer was forgotten meanwhile.
    """
    said = _said(answer, task, accept=accept, reject=reject, choose=choose, edit=edit)
    if said.kind == "accept":
        said = replace(said, has_record=accepted_records)
    settle_all(store)
    before = store.answer_log.hear(said)
    if before is None:
        raise no_answer(answer.id)
    settle(store, answer.id, answer.user, answer.task)
    return said, before[-1] if before else None


def take_back(store: Store, answer_id: str, user: str | None) -> tuple[Feedback, Feedback | None]:
    """Take back the last word on an answer; it, and what is in effect again.

    NotFound where there is none, or the answer is another user's.
    """
    if answer_id == "last":
        answer_id = kept_answer(store, answer_id, user).id
    settle_all(store)
    before = store.answer_log.said_of(answer_id)
    if not before or user not in (None, before[-1].user):
        raise NotFound(
            f"no feedback on answer {answer_id[:40]!r}",
            hint="`hydra-pers feedback --list` shows what there is",
        )
    before = store.answer_log.take_back(new_id(FEEDBACK_ID), answer_id)
    if not before:  # somebody else was faster
        raise NotFound(f"the feedback on answer {answer_id!r} was taken back already")
    settle(store, answer_id, before[-1].user, before[-1].task)
    return before[-1], before[-2] if len(before) > 1 else None


def settle_all(store: Store) -> None:
    """Bring in line what processes that died left, if any did."""
    for answer in store.answer_log.unsettled():
        words = store.answer_log.every_word_on(answer)
        if words:
            settle(store, answer, words[0].user, words[0].task)


def settle(store: Store, answer: str, user: str, task: str) -> None:
    """Make the user's records agree with what is in effect on the answer."""
    log = store.answer_log
    while True:
        said = log.said_of(answer)
        last = said[-1] if said else None
        record = last.as_record() if last else None
        if record is not None:
            store.add([record], update="id")
        elif any(word.has_record for word in log.every_word_on(answer)):
            store.withdraw(user, task, record_id(answer))
        if log.settle(answer, last.id if last else None):
            return


def _said(
    answer: KeptAnswer,
    task: TaskSpec,
    *,
    accept: bool,
    reject: bool,
    choose: int | None,
    edit: str | None,
) -> Feedback:
    words: dict[Kind, bool] = {
        "accept": accept,
        "reject": reject,
        "choose": choose is not None,
        "edit": edit is not None,
    }
    given = [kind for kind, there in words.items() if there]
    if len(given) != 1:
        raise UsageError(
            "say one thing about an answer" if given else "nothing was said about the answer",
            hint="accept, reject, choose a candidate, or edit",
        )
    kind, choice = given[0], 1 if choose is None else choose
    if not 1 <= choice <= len(answer.candidates):
        raise UsageError(
            f"the answer has no candidate {choice}",
            hint=f"its candidates are 1 to {len(answer.candidates)}, the best first",
        )
    kept: str | None = None
    grades: tuple[float, ...] = ()
    if kind == "edit":
        labels = answer.labels or task.labels
        kept = _edited(edit or "", task, labels)
        grades = edit_grades(answer, kept, task, labels)
    elif kind == "choose":
        kept = answer.candidates[choice - 1].text if choice > 1 else answer.text
    elif kind == "accept":
        kept = answer.text
    return about(
        answer,
        kind,
        time=datetime.now(UTC),
        choice=choice,
        kept=kept,
        grades=grades,
        has_record=kind == "edit",
    )


def _edited(text: str, task: TaskSpec, labels: Sequence[str]) -> str:
    """The edit as a record's output; UsageError for one that can't be."""
    text = text.replace("\0", " ").encode("utf-8", "replace").decode().strip()
    if not text:
        raise UsageError("the edit is empty", hint="--reject says that nothing of it is right")
    if len(text) > MOST_CHARACTERS:
        raise UsageError(f"the edit has {len(text):,} characters, the most is {MOST_CHARACTERS:,}")
    if not task.closed or not labels:
        return text
    for label in labels:
        if label.strip().casefold() == text.casefold():
            return label
    shown = ", ".join(labels[:12])
    raise UsageError(f"{text[:40]!r} is no label of {task.name}", hint=f"one of: {shown}")


def teaches(said: Feedback | None) -> bool:
    """Whether it moves the order of its user's answers."""
    from hydra_cli.modeling.factorized.feedback import lists_of

    return bool(said and said.features and lists_of(said, len(said.features[0])))
