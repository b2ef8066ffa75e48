"""Answers as they are kept, and what people said about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from typing import Any, Literal, get_args

from hydra_cli.core.records import Candidate, Record, Scored
from hydra_cli.core.similarity import word_edits, words_saved
from hydra_cli.core.sortable_ids import ANSWER_ID, is_id, new_id
from hydra_cli.core.tasks import TaskSpec

FEEDBACK_ID = "fb"
"""What the ids of feedback begin with."""

Kind = Literal["accept", "reject", "choose", "edit"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_DIGITS = 6
"""Decimal places of kept scores and features: more would be noise, and long files."""


@dataclass(frozen=True, slots=True)
class KeptCandidate:
    """An answer that could have been shown. ``features`` are those that its scorer saw."""

    text: str
    score: float
    sample: int | None = None
    features: tuple[float, ...] = field(default=(), repr=False)

    @staticmethod
    def of(scored: Scored[Candidate]) -> KeptCandidate:
        """A candidate as the scorer left it."""
        item = scored.item
        return KeptCandidate(
            item.text, rounded(scored.score), item.sample, tuple(map(rounded, item.features))
        )


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """An answer with what led to it, as far as feedback on it needs that.

    ``candidates`` stand best first, ``text`` is what was shown of the first. ``evidence``
    are the ids of the records in the prompt: their texts are the store's alone.
    ``stages`` says whose weights answered and which stages acted, ``known`` what
    other pipelines would have answered, where that is known.
    ``feature_set`` names what the candidates' features mean.
    """

    id: str
    user: str
    task: str
    recipe: str
    query: str
    text: str
    time: datetime
    candidates: tuple[KeptCandidate, ...]
    evidence: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    model: str | None = None
    n: int = 0
    stages: Mapping[str, Any] = field(default_factory=dict)
    known: Mapping[str, str] = field(default_factory=dict)
    feature_set: str = ""

    def as_mapping(self) -> dict[str, Any]:
        """Plain values, for JSON; ``of`` reads them back."""
        return {
            **_values(self),
            "time": self.time.isoformat(),
            "candidates": [_values(candidate) for candidate in self.candidates],
        }

    @staticmethod
    def of(values: Mapping[str, Any]) -> KeptAnswer:
        """From plain values; ValueError, KeyError or TypeError where they make no sense."""
        made = KeptAnswer(
            **{
                **values,
                "time": aware(values["time"]),
                "candidates": tuple(map(_candidate, values["candidates"])),
                "evidence": tuple(values["evidence"]),
                "labels": tuple(values["labels"]),
            }
        )
        texts = [made.user, made.task, made.recipe, made.query, made.text, made.feature_set]
        texts += [*made.evidence, *made.labels, *(one.text for one in made.candidates)]
        if not is_id(made.id, ANSWER_ID) or not all(isinstance(text, str) for text in texts):
            raise ValueError("no answer")
        return made


def _values(held: KeptAnswer | KeptCandidate) -> dict[str, Any]:
    """The fields as they are: ``asdict`` would copy each of hundreds of features."""
    return {one.name: getattr(held, one.name) for one in fields(held)}


def _candidate(values: Mapping[str, Any]) -> KeptCandidate:
    features = tuple(map(float, values["features"]))
    return KeptCandidate(
        **{**values, "score": float(values["score"]), "features": features},
    )


@dataclass(frozen=True, slots=True)
class Feedback:
    """What somebody said about an answer, and all that is learned from it.

    ``choice`` is the candidate that was shown or chosen, from 1. ``text`` is what
    the user kept: the edit, the chosen or accepted candidate; None where they
    rejected it. ``distance`` is how many words were changed on the way from the
    shown text to it, ``words`` how many the shown text has. ``record`` says whether
    ``query`` and ``text`` are one of the user's records.
    ``features[j]`` are candidate j's, ``grades[j]`` in [-1, 1] what it saved of an edit.
    ``known`` is what other pipelines would have answered, ``shown`` what was. The
    record's time is when the query was ``asked``, whenever the word on it came.
    """

    id: str
    answer: str
    user: str
    task: str
    kind: Kind
    time: datetime
    asked: datetime
    query: str
    shown: str
    choice: int | None = None
    text: str | None = None
    distance: int | None = None
    words: int = 0
    has_record: bool = False
    model: str | None = None
    recipe: str = field(default="", repr=False)
    feature_set: str = field(default="", repr=False)
    features: tuple[tuple[float, ...], ...] = field(default=(), repr=False)
    grades: tuple[float, ...] = field(default=(), repr=False)
    evidence: tuple[str, ...] = field(default=(), repr=False)
    stages: Mapping[str, Any] = field(default_factory=dict, repr=False)
    known: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def record(self) -> str | None:
        """The id of the record it is, where it is one."""
        return record_id(self.answer) if self.has_record else None

    def as_record(self) -> Record | None:
        """What the user would have written, as a record of theirs."""
        if not self.has_record or self.text is None:
            return None
        return Record(
            user=self.user,
            id=record_id(self.answer),
            task=self.task,
            input=self.query,
            output=self.text,
            time=self.asked,
            metadata={"feedback": self.kind, "answer": self.answer},
        )

    def as_mapping(self) -> dict[str, Any]:
        """Plain values, for JSON; ``of`` reads them back."""
        times = {"time": self.time.isoformat(), "asked": self.asked.isoformat()}
        return {**asdict(self), **times}

    @staticmethod
    def of(values: Mapping[str, Any]) -> Feedback:
        """From plain values; ValueError, KeyError or TypeError where they make no sense."""
        made = Feedback(
            **{
                **values,
                "time": aware(values["time"]),
                "asked": aware(values["asked"]),
                "features": tuple(tuple(map(float, row)) for row in values["features"]),
                "grades": tuple(map(float, values["grades"])),
                "evidence": tuple(values["evidence"]),
            }
        )
        texts = [made.user, made.task, made.query, made.shown, made.recipe, made.feature_set]
        texts += [] if made.text is None else [made.text]
        whole = is_id(made.id, FEEDBACK_ID) and is_id(made.answer, ANSWER_ID)
        if not whole or made.kind not in KINDS or not all(isinstance(t, str) for t in texts):
            raise ValueError("no feedback")
        return made


@dataclass(frozen=True, slots=True)
class Given:
    """What became of a feedback that was given, or taken back.

    ``replaced`` is what was in effect before it; of one taken back, what is in effect
    again. ``learned`` says whether it moves the order of the user's answers.
    """

    feedback: Feedback
    replaced: Feedback | None
    learned: bool


@dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """All feedback of a user on one task that is in effect, in the order of its answers."""

    feedback: tuple[Feedback, ...] = ()

    def __len__(self) -> int:
        return len(self.feedback)

    def of(self, recipe: str, feature_set: str) -> Heard:
        """What was said of answers that one recipe chose, by features of one set."""
        own = [f for f in self.feedback if (f.recipe, f.feature_set) == (recipe, feature_set)]
        return self if len(own) == len(self.feedback) else Heard(tuple(own))


def about(
    answer: KeptAnswer,
    kind: Kind,
    *,
    time: datetime,
    choice: int = 1,
    kept: str | None = None,
    grades: tuple[float, ...] = (),
    has_record: bool = False,
) -> Feedback:
    """What somebody says about an answer; ``kept`` is the text that they end up with."""
    return Feedback(
        id=new_id(FEEDBACK_ID),
        answer=answer.id,
        user=answer.user,
        task=answer.task,
        kind=kind,
        time=time,
        asked=answer.time,
        query=answer.query,
        shown=answer.text,
        choice=None if kind == "edit" else choice,
        text=kept,
        distance=None if kept is None else word_edits(answer.text, kept),
        words=len(answer.text.split()),
        has_record=has_record,
        model=answer.model,
        recipe=answer.recipe,
        feature_set=answer.feature_set,
        features=tuple(one.features for one in answer.candidates),
        grades=grades,
        evidence=answer.evidence,
        stages=answer.stages,
        known=answer.known,
    )


def edit_grades(
    answer: KeptAnswer, kept: str, task: TaskSpec, labels: Sequence[str]
) -> tuple[float, ...]:
    """What each candidate saves over writing the edit; of a label, whether it is the one kept."""
    texts = [one.text for one in answer.candidates]
    if task.closed:
        known = labels or (*texts, kept)
        return tuple(float(task.parse(text, known) == kept) for text in texts)
    return tuple(words_saved(text, kept) for text in texts)


def record_id(answer: str) -> str:
    """The id of the record that feedback on an answer is."""
    return f"feedback_{answer.removeprefix(f'{ANSWER_ID}_')}"


def aware(text: str) -> datetime:
    """A time with its zone; ValueError for one without."""
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError(f"{text} has no time zone")
    return time


def rounded(value: float) -> float:
    """As scores and features are kept."""
    return round(float(value), _DIGITS)
