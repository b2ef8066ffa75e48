"""A user who edits every answer into what they really wrote, round by round.

A user's newest records are the rounds: each one's input is asked, and the answer
that is shown gets edited into its output. The arms differ in what comes of the
edits: nothing, records, moves of the adapter's weights, or both. What a user
types is the record whatever was shown, so prompts depend on no answer: all are
known, and asked, before the first round. References are read where answers are
scored and where the user edits, nowhere else.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from hydra_cli.core.errors import DataError, NotAnswered, UsageError
from hydra_cli.core.feedback import Feedback, Heard, KeptAnswer, KeptCandidate, about, edit_grades
from hydra_cli.core.metrics import quality
from hydra_cli.core.plan import AnswerPlan
from hydra_cli.core.protocols import ChatModel, ChatRequest, Progress, Recipe, TextEncoder
from hydra_cli.core.records import Candidate, Query, QueryContext, Record, Scored
from hydra_cli.core.similarity import word_edits
from hydra_cli.core.sortable_ids import ANSWER_ID, new_id
from hydra_cli.core.tasks import TaskSpec
from hydra_cli.core.verdicts import Gate, Standing
from hydra_cli.evaluation.asking import Answers, Asker, Price
from hydra_cli.evaluation.conditions import Conditions
from hydra_cli.evaluation.questions import EncodedTexts, Question, Questions, folded
from hydra_cli.evaluation.text_measures import Meaning
from hydra_cli.evaluation.training import (
    TrainingPlan,
    labels_for,
    train,
    training_set,
)
from hydra_cli.pipeline.answering import Draft, draft
from hydra_cli.pipeline.personalization import Personalization
from hydra_cli.store.answer_log import MOST_HEARD


@dataclass(frozen=True, slots=True)
class Arm:
    """What comes of a user's edits; ``plain``: one greedy answer, nothing chosen.

    In the hostile rounds of a ``silent`` arm nothing is said: the edits are missing, and no
    wrong choice stands in their place.
    """

    name: str
    about: str
    records: bool = False
    head: bool = False
    plain: bool = False
    hostile: bool = False
    silent: bool = False


RAG = Arm("rag", "the records from before the rounds, one greedy answer", plain=True)
FROZEN = Arm("frozen", "the whole pipeline, nothing learned from the rounds")
RECORDS = Arm("records only", "edits become records", records=True)
HEAD = Arm("head only", "edits move the adapter's weights", head=True)
BOTH = Arm("both", "edits do both, as in use", records=True, head=True)
HONEST = (RAG, FROZEN, RECORDS, HEAD, BOTH)
HOSTILE = (
    *(
        replace(
            arm, name=f"{arm.name}, hostile", about=f"{arm.name}, with hostile rounds", hostile=True
        )
        for arm in (HEAD, BOTH)
    ),
    replace(
        BOTH,
        name="both, silent",
        about="both, with nothing said in the hostile rounds",
        hostile=True,
        silent=True,
    ),
)


@dataclass(frozen=True, slots=True)
class SimulationPlan:
    """``rounds`` a user, after the newest ``start`` older records (None: all of them).

    ``hostile`` is the share of rounds in which the user chooses the worst candidate
    and edits nothing.
    """

    rounds: int = 50
    start: int | None = None
    hostile: float = 0.0
    answering: AnswerPlan = field(default_factory=AnswerPlan)
    training: TrainingPlan = field(default_factory=TrainingPlan)

    @property
    def arms(self) -> tuple[Arm, ...]:
        return (*HONEST, *HOSTILE) if self.hostile else HONEST


@dataclass(frozen=True, slots=True)
class Course:
    """One user's way: what is known at the start, then a record a round."""

    user: str
    start: tuple[Record, ...]
    rounds: tuple[Record, ...]

    def is_hostile(self, place: int, plan: SimulationPlan) -> bool:
        """Whether the round is a hostile one: the same for every arm."""
        dice = random.Random(f"{plan.answering.seed}\0{self.user}\0{place}")
        return dice.random() < plan.hostile


@dataclass(frozen=True, slots=True)
class Round:
    """One answer that was shown: what it takes to make the reference of it, and how good it is.

    ``edits`` are in words, ``least`` the fewest that any of the drafts would have taken;
    ``quality`` (ROUGE) and ``meaning`` are in [0, 1].
    """

    arm: str
    user: str
    place: int
    query: str
    shown: str
    edits: int
    least: int
    words: int
    quality: float
    meaning: float
    hostile: bool = False


@dataclass(slots=True)
class Simulated:
    """One task's rounds. ``missing`` counts those that lack an answer of the LLM in any arm."""

    task: TaskSpec
    courses: Sequence[Course]
    asker: Asker
    notes: list[str]
    rounds: list[Round] = field(default_factory=list)
    missing: int = 0


def courses(questions: Questions, plan: SimulationPlan) -> tuple[list[Course], list[str]]:
    """Every user with enough records, and a note of those without; DataError where none has."""
    items: dict[str, list[Question]] = {}
    for item in questions.items:
        items.setdefault(item.query.user, []).append(item)
    found, short = [], 0
    least = plan.rounds + (plan.start or 1)
    for user, older in questions.own_records().items():
        asked = [
            Record(user, q.query.id, q.query.task, q.query.text, questions.references[q.key])
            for q in items[user]
        ]
        records = (*older, *asked)
        if len(records) < least:
            short += 1
            continue
        known = records[: -plan.rounds]
        start = known if plan.start is None else known[-plan.start :]
        found.append(Course(user, start, records[-plan.rounds :]))
    name = questions.task.name
    if not found:
        raise DataError(
            f"no user of {name} has {least} records",
            hint="--rounds and --start say how many it takes",
        )
    short_of = f"{short} users with fewer than {least} records were left out"
    return found, [short_of] if short else []


def simulate(
    questions: Questions,
    train_questions: Questions | None,
    plan: SimulationPlan,
    *,
    encoder: TextEncoder,
    chat: ChatModel,
    recipe: Recipe,
    progress: Progress,
    price: Price | None = None,
) -> Simulated:
    """All rounds of all users in every arm. Where answers are missing, their rounds are."""
    rooms = _prepare(questions, train_questions, plan, encoder, recipe, progress)
    asker = Asker(chat, progress, price)
    found = Simulated(questions.task, rooms.courses, asker, rooms.notes)
    answers = asker.ask(rooms.requests(), f"{questions.task.name}: asking the LLM")
    if asker.error is not None and not isinstance(asker.error, NotAnswered):
        found.notes.append(f"incomplete: {asker.error.message}")
    progress.start(f"{questions.task.name}: playing the rounds", len(rooms.courses))
    for course in rooms.courses:
        rounds, missing = rooms.play(course, answers)
        found.rounds += rounds
        found.missing += missing
        progress.advance()
    return found


def planned(
    questions: Questions,
    train_questions: Questions | None,
    plan: SimulationPlan,
    *,
    encoder: TextEncoder,
    recipe: Recipe,
    progress: Progress,
) -> list[ChatRequest]:
    """All that ``simulate`` asks, nothing being sent."""
    return list(_prepare(questions, train_questions, plan, encoder, recipe, progress).requests())


def _prepare(
    questions: Questions,
    train_questions: Questions | None,
    plan: SimulationPlan,
    encoder: TextEncoder,
    recipe: Recipe,
    progress: Progress,
) -> _Rooms:
    task = questions.task
    if task.closed:
        raise UsageError(
            f"{task.name}: there are no words to edit in labels and ratings",
            hint="--simulate is for tasks of free text; --task picks some",
        )
    found, notes = courses(questions, plan)
    notes = [*questions.notes, *notes]
    if train_questions is None:
        notes.append("no training users: the base is trained on what users know at the start")
    material = training_set(
        train_questions, _known_at_the_start(questions, found), encoder, plan.training
    )
    labels = labels_for(recipe, Conditions(task, plan.answering), plan.training)
    trained = train(
        recipe, material, labels, encoder, None, gated=True, plan=plan.training,
        seed=plan.answering.seed, progress=progress,
    )  # fmt: skip
    texts = [record.input for one in found for record in (*one.start, *one.rounds)]
    texts += [record.output for one in found for record in (*one.start, *one.rounds)]
    vectors = EncodedTexts(encoder, texts)
    scorer = recipe.scorer(trained.base, None, task, encoder)
    gate = Gate.of(trained.base.card.gate)
    personal = Personalization.of(scorer, Standing("population", "", gate), recipe)
    meaning = Meaning([record.output for one in found for record in one.start])
    return _Rooms(task, found, plan, vectors, personal, meaning, notes)


def _known_at_the_start(questions: Questions, found: Sequence[Course]) -> Questions:
    """The courses as questions without a later record: what a base may be trained on."""
    items = [
        Question(Query(one.user, one.rounds[0].id, questions.task.name, ""), one.start)
        for one in found
    ]
    return replace(questions, items=tuple(items))


@dataclass(frozen=True, slots=True)
class _Rooms:
    """What rounds are drafted, played and scored with."""

    task: TaskSpec
    courses: Sequence[Course]
    plan: SimulationPlan
    vectors: EncodedTexts
    personal: Personalization
    """Everyone's weights, and the stages as the gate has them for everyone."""
    meaning: Meaning
    notes: list[str]

    def requests(self) -> Iterator[ChatRequest]:
        """Every arm's request for every round."""
        for course in self.courses:
            for place in range(len(course.rounds)):
                for arm in self.plan.arms:
                    made = self.draft(course, place, arm, self.personal)
                    assert made.request is not None  # texts are never found without an LLM
                    yield made.request

    def draft(self, course: Course, place: int, arm: Arm, personal: Personalization) -> Draft:
        """The pipeline's draft for one round, with the records that the arm has by then."""
        if arm.plain:
            personal = replace(personal.bare(), records=True)
        return draft(self.context(course, place, arm), self.task, personal, self.plan.answering)

    def context(self, course: Course, place: int, arm: Arm) -> QueryContext:
        asked = course.rounds[place]
        learned = [
            record
            for earlier, record in enumerate(course.rounds[:place])
            if arm.records and not (arm.hostile and course.is_hostile(earlier, self.plan))
        ]
        same = folded(asked.input)
        records = [r for r in (*course.start, *learned) if folded(r.input) != same]
        query = Query(course.user, asked.id, self.task.name, asked.input)
        history = self.vectors.history(course.user, records, self.task)
        return QueryContext(query, self.vectors.rows([asked.input])[0], history)

    def play(self, course: Course, answers: Answers) -> tuple[list[Round], int]:
        """A user's rounds in every arm, and how many lack an answer in any of them."""
        arms = {arm.name: list(self._play(course, arm, answers)) for arm in self.plan.arms}
        whole = [all(rounds) for rounds in zip(*arms.values(), strict=True)]
        kept = [
            found
            for rounds in arms.values()
            for found, there in zip(rounds, whole, strict=True)
            if found is not None and there
        ]
        return kept, whole.count(False)

    def _play(self, course: Course, arm: Arm, answers: Answers) -> Iterator[Round | None]:
        """One arm's rounds in order, each heard before the next; None where no answer came."""
        said: list[Feedback] = []
        for place, record in enumerate(course.rounds):
            personal = self.personal
            if arm.head and said:
                personal = personal.after(Heard(tuple(said[-MOST_HEARD:])))
            drafted = self.draft(course, place, arm, personal)
            completion = answers.get(drafted.request) if drafted.request else None
            if completion is None:
                yield None
                continue
            candidates = completion.candidates
            chosen = drafted.choose(candidates)
            shown = drafted.text_of(chosen)
            hostile = arm.hostile and course.is_hostile(place, self.plan)
            if arm.head and not (hostile and arm.silent):
                answer = self._kept(drafted, chosen, shown)
                said.append(heard(answer, record.output, self.task, hostile=hostile))
            yield Round(
                arm.name,
                course.user,
                place,
                record.id,
                shown,
                word_edits(shown, record.output),
                min(
                    word_edits(self.task.parse(c.text) or c.text, record.output) for c in candidates
                ),
                len(shown.split()),
                quality(prediction=shown, reference=record.output, task=self.task),
                self.meaning(shown, record.output),
                hostile,
            )

    def _kept(self, drafted: Draft, chosen: Sequence[Scored[Candidate]], shown: str) -> KeptAnswer:
        """The answer as it is kept for feedback."""
        query, personal = drafted.context.query, drafted.personal
        return KeptAnswer(
            new_id(ANSWER_ID),
            query.user,
            query.task,
            personal.recipe,
            query.text,
            shown,
            datetime.now(UTC),
            tuple(map(KeptCandidate.of, chosen)),
            feature_set=getattr(personal.scorer, "feature_set", ""),
        )


def heard(answer: KeptAnswer, written: str, task: TaskSpec, *, hostile: bool) -> Feedback:
    """The edit into what the user wrote; of a hostile one, the choice of the worst candidate."""
    if not hostile:
        grades = edit_grades(answer, written, task, ())
        return about(answer, "edit", time=answer.time, kept=written, grades=grades)
    texts = [candidate.text for candidate in answer.candidates]
    worst = max(range(len(texts)), key=lambda place: word_edits(texts[place], written))
    return about(answer, "choose", time=answer.time, choice=worst + 1, kept=texts[worst])
