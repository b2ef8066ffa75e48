"""What a model may call, whatever protocol brings it: examples of a user, a choice of drafts.

Each tool is a JSON schema and a function of a warm ``Hydra`` and its arguments. No LLM of
ours is asked by any of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hydra_cli.core.errors import UsageError
from hydra_cli.shown import words

if TYPE_CHECKING:
    from hydra_cli.api import Hydra
    from hydra_cli.core.feedback import KeptAnswer
    from hydra_cli.core.records import Record, Scored
    from hydra_cli.core.tasks import TaskSpec
    from hydra_cli.core.verdicts import Stage, Standing

MOST_DRAFTS = 64
MOST_RECORDS = 100
MOST_CHARACTERS = 100_000
"""Of a query or a draft."""

Schema = dict[str, Any]
"""A JSON Schema."""


class Arguments:
    """A call's arguments, each read once; UsageError for what is missing, wrong or unknown."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._given = dict(given)

    def text(self, name: str) -> str:
        value = self.maybe_text(name)
        if value is None or not value.strip():
            raise UsageError(f"`{name}` is missing" if value is None else f"`{name}` is empty")
        return value

    def maybe_text(self, name: str) -> str | None:
        value = self._given.pop(name, None)
        return None if value is None else _checked(name, value)

    def count(self, name: str, *, least: int, most: int) -> int | None:
        value = self._given.pop(name, None)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise UsageError(f"`{name}` must be a whole number from {least} to {most}")
        return value

    def texts(self, name: str, *, most: int) -> list[str]:
        values = self._given.pop(name, None)
        if not isinstance(values, list) or not values:
            raise UsageError(f"`{name}` must be a list of texts, and not an empty one")
        if len(values) > most:
            raise UsageError(f"{len(values):,} {name} are too many", hint=f"at most {most}")
        return [_checked(f"{name}[{place}]", value) for place, value in enumerate(values)]

    def end(self) -> None:
        """Nothing may be left."""
        if self._given:
            raise UsageError(f"there is no argument {next(iter(self._given))[:80]!r} here")


def _checked(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise UsageError(f"`{name}` must be a text")
    if len(value) > MOST_CHARACTERS:
        raise UsageError(
            f"`{name}` holds {len(value):,} characters", hint=f"at most {MOST_CHARACTERS:,}"
        )
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """``run`` takes the store, the user (None: nobody was named) and the arguments."""

    name: str
    title: str
    about: str
    parameters: Mapping[str, Schema]
    required: tuple[str, ...]
    run: Callable[[Hydra, str | None, Arguments], dict[str, Any]]
    reads: bool = True
    """Whether it changes nothing of what the user's next answers are made from."""

    @property
    def schema(self) -> Schema:
        return {
            "type": "object",
            "properties": dict(self.parameters),
            "required": list(self.required),
            "additionalProperties": False,
        }


def _whose(hydra: Hydra, user: str | None) -> str | None:
    """The user that was named, else the settings'; UsageError where there are several."""
    if user is not None or hydra.settings.user is not None:
        return user
    if (found := len(hydra.users())) > 1:
        raise UsageError(f"the store holds {found:,} users", hint="name one: `user`")
    return None


def _personal_examples(hydra: Hydra, user: str | None, given: Arguments) -> dict[str, Any]:
    query, task = given.text("query"), given.maybe_text("task")
    k = given.count("k", least=1, most=MOST_RECORDS)
    given.end()
    found = hydra.examples(query, user=_whose(hydra, user), task=task, k=k)
    return {
        "user": found.query.user,
        "task": found.task.name,
        "instruction": found.task.instruction,
        "labels": list(found.query.labels or found.task.labels),
        "examples": [_example(scored) for scored in found.records],
        "records": _told(found.standing, found.task, "records"),
    }


def _example(scored: Scored[Record]) -> dict[str, Any]:
    record = scored.item
    return {
        "id": record.id,
        "input": record.input,
        "output": record.output,
        "time": record.time and record.time.isoformat(),
        "score": scored.score,
    }


def _rank_drafts(hydra: Hydra, user: str | None, given: Arguments) -> dict[str, Any]:
    query, task = given.text("query"), given.maybe_text("task")
    drafts = given.texts("drafts", most=MOST_DRAFTS)
    given.end()
    found = hydra.rank(query, drafts, user=_whose(hydra, user), task=task)
    return {
        "user": found.query.user,
        "task": found.task.name,
        "winner": found.order[0] + 1,
        "text": found.text,
        "order": [place + 1 for place in found.order],
        "scores": list(found.scores),
        "answer_id": found.answer.id,
        "adapter": {"on": found.on, "told": _told(found.standing, found.task, "adapt")},
    }


VERDICTS = ("accept", "reject", "choose", "edit")


def _record_feedback(hydra: Hydra, user: str | None, given: Arguments) -> dict[str, Any]:
    answer_id, verdict = given.text("answer_id"), given.text("verdict")
    text = given.maybe_text("text")
    given.end()
    if verdict not in VERDICTS:
        raise UsageError(f"`verdict` must be one of {', '.join(VERDICTS)}")
    if (text is None) == (verdict in ("choose", "edit")):
        raise UsageError("`text` belongs to the verdicts choose and edit, and they need it")
    user = _whose(hydra, user) or hydra.settings.user
    said: dict[str, Any] = {verdict: True}
    if verdict == "choose":
        said["choose"] = _chosen(hydra, hydra.answer(answer_id, user=user), text or "")
    elif verdict == "edit":
        said["edit"] = text
    done = hydra.feedback(answer_id, user=user, **said)
    return {
        "feedback_id": done.feedback.id,
        "answer_id": done.feedback.answer,
        "user": done.feedback.user,
        "kind": done.feedback.kind,
        "replaced": done.replaced.id if done.replaced else None,
        "learned": done.learned,
    }


def _chosen(hydra: Hydra, answer: KeptAnswer, text: str) -> int:
    """Which of the answer's candidates it is, from 1; UsageError where it is none of them."""
    texts = [candidate.text for candidate in answer.candidates]
    read = hydra.settings.spec(answer.task).parse(text, answer.labels)
    for wanted in (text.strip(), read):
        if wanted in texts:
            return texts.index(wanted) + 1
    raise UsageError("`text` is none of that answer's candidates", hint="`edit` takes any text")


def _told(standing: Standing, task: TaskSpec, stage: Stage) -> str:
    return words.explained(standing, task)[stage]


_QUERY: Schema = {"type": "string", "description": "What the user is to be answered."}
_WHO: dict[str, Schema] = {
    "user": {"type": "string", "description": "Whose history; not needed where there is one user."},
    "task": {"type": "string", "description": "Default: the user's largest task."},
}

TOOLS: tuple[Tool, ...] = (
    Tool(
        name="personal_examples",
        title="Examples of a user",
        about=(
            "Past inputs of a user and what the user made of them, best example for the query "
            "first. Write the answer the way these outputs are written."
        ),
        parameters={
            "query": _QUERY,
            **_WHO,
            "k": {
                "type": "integer",
                "minimum": 1,
                "maximum": MOST_RECORDS,
                "description": "How many; default: as the pipeline shows.",
            },
        },
        required=("query",),
        run=_personal_examples,
    ),
    Tool(
        name="rank_drafts",
        title="Pick among drafts",
        about=(
            "Orders drafts of an answer by what this user would have written, judged by the "
            "adapter learned from the user's history. Drafts count from 1; `winner` is the one "
            "to use. Where `adapter.on` is false the adapter won nothing for this user: the "
            "order is the one given."
        ),
        parameters={
            "query": _QUERY,
            "drafts": {
                "type": "array",
                "items": {"type": "string"},
                "minItems": 1,
                "maxItems": MOST_DRAFTS,
                "description": "Answers to choose from, the likeliest first.",
            },
            **_WHO,
        },
        required=("query", "drafts"),
        run=_rank_drafts,
    ),
    Tool(
        name="record_feedback",
        title="Say what became of an answer",
        about=(
            "What the user made of an answer, named by the `answer_id` of rank_drafts or of a chat "
            "completion: `accept` (used as it was), `reject`, `choose` (another candidate was "
            "used: its `text`), `edit` (the `text` that the user made of it). The user's next "
            "answers heed it; a second word on an answer replaces the first."
        ),
        parameters={
            "answer_id": {"type": "string"},
            "verdict": {"type": "string", "enum": list(VERDICTS)},
            "text": {"type": "string", "description": "For choose and edit."},
            "user": _WHO["user"],
        },
        required=("answer_id", "verdict"),
        run=_record_feedback,
        reads=False,
    ),
)
