"""The sample of ``hydra-pers demo``, and one query answered in three ways."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from pathlib import Path

from hydra_cli.core.plan import AnswerPlan
from hydra_cli.core.protocols import ChatModel, HistoryStore, TextEncoder
from hydra_cli.core.tasks import TaskSpec
from hydra_cli.core.verdicts import Standing
from hydra_cli.pipeline.personalization import Personalization
from hydra_cli.workflows.ask import ask, make_query

SAMPLE = Path(__file__).resolve().parent.parent / "demo"


@dataclass(frozen=True, slots=True)
class DemoQuery:
    """A query that no history holds, and what its user would have answered."""

    user: str
    task: str
    text: str
    own: str


QUESTIONS = (
    DemoQuery(
        "ada",
        "headlines",
        "The library of York will open on Sundays from next month after two thousand readers "
        "signed a petition. Volunteers will run the desk, and the café will stay open until six.",
        "york library to open on sundays after a petition",
    ),
    DemoQuery(
        "cleo",
        "headlines",
        "The ferry from Oban to the islands will sail twice as often this summer. The company has "
        "leased a second ship from Norway, and fares for residents stay as they are.",
        "Oban: Ferry to sail twice as often this summer",
    ),
    DemoQuery(
        "eve",
        "tickets",
        "Since the last update the app shows an error whenever I upload a photo.",
        "P1",
    ),
    DemoQuery(
        "greta",
        "replies",
        "The teapot arrived with a chipped spout. I have a photo.\nOrder 20977, Anna Berg",
        "Dear Ms Berg,\n\nI am sorry to hear that the teapot arrived with a chipped spout.\n\n"
        "- A new teapot leaves us tomorrow, free of charge.\n"
        "- Please keep the photo, the carrier may ask for it.\n"
        "- You need not return the old teapot.\n\n"
        "Kind regards,\nGreta Lindqvist\nTilda & Finch, Customer Service",
    ),
)


@dataclass(frozen=True, slots=True)
class Way:
    """One of the three ways to answer, and how close it came to the user's own, in [0, 1]."""

    name: str
    text: str
    closeness: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Comparison:
    question: DemoQuery
    ways: tuple[Way, ...]
    task: TaskSpec
    standing: Standing

    @property
    def best(self) -> tuple[str, ...]:
        """The ways nearest to what the user would have answered; none where all are far off."""
        top = max(way.closeness for way in self.ways)
        return tuple(way.name for way in self.ways if way.closeness == top > 0)


def compare(
    question: DemoQuery,
    task: TaskSpec,
    *,
    store: HistoryStore,
    encoder: TextEncoder,
    chat: ChatModel,
    personal: Personalization,
    plan: AnswerPlan,
) -> Comparison:
    """The query without records, with records, and with the user's heads as well."""
    query = make_query(question.text, question.user, task)
    bare = personal.bare()
    ways = []
    for name, how, given in (
        ("plain", bare, replace(plan, k=0)),
        ("RAG", bare, plan),
        ("personalized", personal, plan),
    ):
        start = time.perf_counter()
        answer = ask(query, task, store=store, encoder=encoder, chat=chat, personal=how, plan=given)
        seconds = time.perf_counter() - start
        ways.append(Way(name, answer.text, closeness(answer.text, question.own, task), seconds))
    return Comparison(question, tuple(ways), task, personal.standing)


def closeness(text: str, own: str, task: TaskSpec) -> float:
    """1 for the same label; else the share of common characters, upper and lower case apart.

    ROUGE would not see the habits that the sample is about: case, punctuation and lines.
    """
    if task.closed:
        return float(text == own)
    return SequenceMatcher(None, text, own, autojunk=False).ratio()


def verdict(comparisons: Sequence[Comparison]) -> list[str]:
    """What helped and what didn't, in words."""
    total = len(comparisons)
    names = [way.name for way in comparisons[0].ways]
    wins = {name: sum(name in c.best for c in comparisons) for name in names}
    counts = ", ".join(f"{name} {wins[name]} of {total}" for name in names)
    lines = [f"Nearest to what the user would have written (ties count for each): {counts}."]
    for comparison in comparisons:
        question = comparison.question
        plain, rag, personalized = comparison.ways
        if personalized.closeness > max(plain.closeness, rag.closeness):
            word = "the adapter helped"
        elif rag.closeness > plain.closeness and personalized.closeness == rag.closeness:
            word = "the records helped, the adapter added nothing"
        elif rag.closeness > max(plain.closeness, personalized.closeness):
            word = "the records helped, the adapter took some of it back"
        elif plain.closeness > max(rag.closeness, personalized.closeness):
            word = "the plain answer was best"
        else:
            word = "no difference that counts"
        lines.append(f"{question.user}, {question.task}: {word}.")
    return lines
