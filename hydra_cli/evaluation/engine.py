"""Runs methods over the same queries: few large batches of LLM calls, memory flat.

Queries go through in chunks of whole users. For each chunk every method says
which records it shows and how it samples; all requests of all methods and
seeds go to the LLM together, equal ones once; then each method chooses.
References are read in one place, where answers are scored.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain

from hydra_cli.core.errors import (
    BudgetExceeded,
    HydraError,
    ModelError,
    NotAnswered,
    ProviderError,
)
from hydra_cli.core.metrics import Metric, metrics_for, quality
from hydra_cli.core.plan import AnswerPlan
from hydra_cli.core.protocols import ChatModel, Progress, Recipe, TextEncoder
from hydra_cli.core.records import Candidate, History, QueryContext
from hydra_cli.evaluation.asking import Answers, Asker, Price
from hydra_cli.evaluation.collected import Collected, Prediction, as_prediction, best_of
from hydra_cli.evaluation.conditions import Conditions, summary_request
from hydra_cli.evaluation.histories import Chunk, Histories, Variant
from hydra_cli.evaluation.methods import Drafted, Method, suited
from hydra_cli.evaluation.questions import Key, Questions, seen_in
from hydra_cli.evaluation.training import (
    Fits,
    Trained,
    TrainingPlan,
    TrainingSet,
    fit_users,
    labels_for,
    train,
    training_set,
)
from hydra_cli.pipeline.personalization import Personalization

RecipeDoor = Callable[[str], Recipe]

FAILURES = (ProviderError, BudgetExceeded, ModelError)
"""What ends a recipe's methods, and no others."""


@dataclass(frozen=True, slots=True)
class EvalPlan:
    """The settings of a run, the same for every method; ``answering`` for each of the seeds."""

    methods: tuple[Method, ...]
    seeds: tuple[int, ...] = (0,)
    answering: AnswerPlan = field(default_factory=AnswerPlan)
    training: TrainingPlan = field(default_factory=TrainingPlan)


@dataclass(slots=True)
class TaskRun:
    """One task's raw results."""

    questions: Questions
    metrics: tuple[Metric, ...]
    collected: dict[str, Collected]
    notes: list[str]
    asker: Asker
    train_users: int = 0
    train_examples: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    seen: frozenset[Key] = frozenset()
    """Queries of closed tasks whose very text stands among the training users'."""
    donors: Mapping[str, str] = field(default_factory=dict)
    """Whose history each user got where histories were exchanged."""


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One method's draft for one query, or why there is none."""

    method: Method
    seed: int
    context: QueryContext
    drafted: Drafted | None
    failed: str = ""
    seconds: float = 0.0


def run_task(
    questions: Questions,
    train_questions: Questions | None,
    plan: EvalPlan,
    *,
    encoder: TextEncoder,
    chat: ChatModel,
    open_recipe: RecipeDoor,
    progress: Progress,
    price: Price | None = None,
) -> TaskRun:
    """Every suited method's answers to every question.

    LLM failures end nothing: what could not be answered is counted as missing.
    """
    engine = _Engine(questions, plan, encoder, chat, open_recipe, progress, price)
    engine.prepare(train_questions)
    for chunk in questions.chunks():
        engine.run_chunk(chunk)
    return engine.finish()


class _OnceNoted:
    """A Progress that says each note once: folds and chunks repeat them."""

    def __init__(self, inner: Progress) -> None:
        self._inner = inner
        self._said: set[str] = set()

    def start(self, label: str, total: int | None) -> None:
        self._inner.start(label, total)

    def advance(self, steps: int = 1) -> None:
        self._inner.advance(steps)

    def note(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._inner.note(text)


class _Engine:
    def __init__(
        self,
        questions: Questions,
        plan: EvalPlan,
        encoder: TextEncoder,
        chat: ChatModel,
        open_recipe: RecipeDoor,
        progress: Progress,
        price: Price | None,
    ) -> None:
        self.questions, self.plan, self.encoder = questions, plan, encoder
        self.open_recipe, self.progress = open_recipe, _OnceNoted(progress)
        self.task = questions.task
        self.methods, skipped = suited(plan.methods, self.task)
        self.asker = Asker(chat, self.progress, price)
        references = [questions.references[item.key] for item in questions.items]
        self.run = TaskRun(
            questions,
            metrics_for(self.task, references),
            {method.name: Collected(method) for method in self.methods},
            [*questions.notes, *skipped],
            self.asker,
        )
        self.base_setting = Conditions(self.task, plan.answering)
        variants = frozenset(method.variant for method in self.methods)
        self.histories = Histories(questions, encoder, variants, plan.seeds[0])
        self.run.donors = self.histories.donors
        self.trained: dict[tuple[str, int], Trained] = {}
        self.broken: dict[str, str] = {}
        """Recipes that could not be trained, and why."""

    def prepare(self, train_questions: Questions | None) -> None:
        """The fallback label, and a base for each recipe and seed."""
        start = time.perf_counter()
        self.base_setting = replace(
            self.base_setting, fallback=fallback_label(train_questions or self.questions)
        )
        uses = {m.use.recipe: m.use for m in self.methods if m.use is not None}
        if train_questions is not None and self.task.closed:
            self.run.seen = seen_in(train_questions, self.questions)
        pooled = any(method.pooled for method in self.methods)
        if not uses and not pooled:
            return
        if train_questions is None:
            self.note("no training users: the base is trained on the users' own records")
        material = training_set(train_questions, self.questions, self.encoder, self.plan.training)
        if pooled:
            pool = tuple(one.history for one in material.splits) if train_questions else ()
            self.base_setting = replace(self.base_setting, pool=pool)
        if uses:
            self.run.train_users = len(material.users)
            self.run.train_examples = len(material.examples)
        self.run.seconds["encode training"] = time.perf_counter() - start
        for name in uses:
            start = time.perf_counter()
            try:
                self._train(name, material)
            except FAILURES as error:
                self.fail(name, error)
            self.run.seconds[f"train {name}"] = time.perf_counter() - start

    def _train(self, name: str, material: TrainingSet) -> None:
        recipe = self.open_recipe(name)
        users = [m.use for m in self.methods if m.use is not None and m.use.recipe == name]
        gated = any(use.gated for use in users)
        labels = labels_for(recipe, self.base_setting, self.plan.training)
        for seed in self.plan.seeds:
            self.trained[name, seed] = train(
                recipe,
                material,
                labels,
                self.encoder,
                self.asker,
                gated=gated,
                plan=self.plan.training,
                seed=seed,
                progress=self.progress,
            )
        for method in self.methods:
            if method.use is not None and method.use.recipe == name:
                self.run.collected[method.name].setup += self.trained[
                    name, self.plan.seeds[0]
                ].usage

    def run_chunk(self, chunk: Questions) -> None:
        """Answer and score the chunk's queries with every method and seed."""
        start = time.perf_counter()
        found = self.histories.chunk(chunk)
        self._took("encode", start)
        summaries = self._summaries(found)
        attempts: list[_Attempt] = []
        for seed in self.plan.seeds:
            setting = replace(
                self.base_setting,
                plan=replace(self.plan.answering, seed=seed),
                summaries=summaries,
                personal=self._personal(found, seed),
            )
            start = time.perf_counter()
            methods = [m for m in self.methods if seed == self.plan.seeds[0] or m.seeded]
            # By query, so that its history's index is built once for all methods; then by
            # method, so that one query which the LLM refuses doesn't look like its end.
            by_query = [
                [
                    self._attempt(method, method.settle(setting), found[method.variant].contexts[i])
                    for method in methods
                ]
                for i in range(len(chunk.items))
            ]
            attempts += chain.from_iterable(zip(*by_query, strict=True))
            self._took("select", start)
        start = time.perf_counter()
        requests = [a.drafted.request for a in attempts if a.drafted and a.drafted.request]
        answers = self.asker.ask(requests, f"{self.task.name}: asking the LLM")
        self._took("LLM", start)
        start = time.perf_counter()
        for attempt in attempts:
            self._score(attempt, answers)
        self._took("choose and score", start)

    def finish(self) -> TaskRun:
        if self.asker.error is not None and not isinstance(self.asker.error, NotAnswered):
            self.note(f"incomplete: {self.asker.error.message}")
        return self.run

    def _summaries(self, chunks: Mapping[Variant, Chunk]) -> dict[tuple[Variant, str], str]:
        """PAG's summary of each user; users whose request failed are absent."""
        methods = [method for method in self.methods if method.summary]
        if not methods:
            return {}
        requests = {
            (variant, user): summary_request(user, history, self.task)
            for variant in dict.fromkeys(method.variant for method in methods)
            for user, history in chunks[variant].histories.items()
        }
        start = time.perf_counter()
        answers = self.asker.ask(
            [request for request in requests.values() if request is not None],
            f"{self.task.name}: summaries of users",
        )
        self._took("LLM", start)
        found: dict[tuple[Variant, str], str] = {}
        for key, request in requests.items():
            if request is None:
                found[key] = ""
            elif (completion := answers.get(request)) is not None:
                found[key] = " ".join(completion.texts[0].split())
                for method in methods:
                    if method.variant == key[0]:
                        self.run.collected[method.name].setup += completion.usage
        return found

    def _personal(
        self, chunks: Mapping[Variant, Chunk], seed: int
    ) -> dict[tuple[tuple[str, Variant], str], Personalization]:
        """Every personalized method's scorers for the chunk's users."""
        start = time.perf_counter()
        found: dict[tuple[tuple[str, Variant], str], Personalization] = {}
        fits: dict[tuple[str, bool, Variant], Fits] = {}
        for method in self.methods:
            use = method.use
            if use is None or use.recipe in self.broken:
                continue
            histories = chunks[method.variant].histories
            key = (use.recipe, use.fitted, method.variant)
            if key not in fits:
                try:
                    fits[key] = self._fit(use.recipe, use.fitted, histories, seed)
                except NotAnswered as error:
                    self.asker.fail(error)  # the next users' requests are still wanted
                    continue
                except FAILURES as error:
                    self.fail(use.recipe, error)
                    continue
            collected = self.run.collected[method.name]
            if seed == self.plan.seeds[0]:
                collected.setup += fits[key].usage
            for user in histories:
                personal = fits[key].personalization(user, use)
                found[method.fit_key, user] = personal
                collected.stages[user] = (personal.rerank, personal.adapt, personal.records)
        self._took("fit", start)
        return found

    def _fit(self, recipe: str, fitted: bool, histories: Mapping[str, History], seed: int) -> Fits:
        gated = any(
            m.use.gated
            for m in self.methods
            if m.use is not None and (m.use.recipe, m.use.fitted) == (recipe, fitted)
        )
        return fit_users(
            self.trained[recipe, seed],
            self.task,
            histories,
            self.encoder,
            self.asker,
            fitted=fitted,
            gated=gated,
            plan=self.plan.training,
            seed=seed,
            progress=self.progress,
        )

    def _attempt(self, method: Method, setting: Conditions, context: QueryContext) -> _Attempt:
        user, seed = context.query.user, setting.plan.seed
        if method.use is not None and (method.fit_key, user) not in setting.personal:
            why = self.broken.get(method.use.recipe, "its fit failed")
            return _Attempt(method, seed, context, None, why)
        if method.summary and (method.variant, user) not in setting.summaries:
            return _Attempt(method, seed, context, None, "the user's summary failed")
        start = time.perf_counter()
        drafted = method.draft(setting, context)
        return _Attempt(method, seed, context, drafted, seconds=time.perf_counter() - start)

    def _score(self, attempt: _Attempt, answers: Answers) -> None:
        """The only place that reads a reference."""
        query, drafted = attempt.context.query, attempt.drafted
        collected = self.run.collected[attempt.method.name]
        key = (query.user, query.id)
        collected.own_seconds += attempt.seconds
        if drafted is None:
            collected.miss(key, attempt.failed)
            return
        candidates: tuple[Candidate, ...] = ()
        if drafted.request is not None:
            completion = answers.get(drafted.request)
            if completion is None:
                error = self.asker.error
                collected.miss(key, error.message if error else "no answer")
                return
            collected.usage += completion.usage
            candidates = completion.candidates
        reference = self.questions.references[key]
        start = time.perf_counter()
        if attempt.method.bound:
            text = best_of([c.text for c in candidates], reference, query, self.task)
        else:
            text = drafted.choose(candidates)
        collected.own_seconds += time.perf_counter() - start
        if not self.task.closed:
            collected.cut += any(c.cut and c.text == text for c in candidates)
        text = as_prediction(text, query, self.task)
        grade = quality(prediction=text, reference=reference, task=self.task)
        records = len(attempt.context.history)
        prediction = Prediction(key, attempt.seed, text, grade, records)
        collected.add(prediction, self.run.metrics, reference)

    def fail(self, recipe: str, error: HydraError) -> None:
        """The recipe's methods can't answer from here on."""
        self.broken[recipe] = error.message
        self.asker.fail(error)

    def note(self, text: str) -> None:
        self.run.notes.append(text)
        self.progress.note(text)

    def _took(self, stage: str, start: float) -> None:
        seconds = self.run.seconds
        seconds[stage] = seconds.get(stage, 0.0) + time.perf_counter() - start


def fallback_label(questions: Questions) -> str:
    """What a closed task's records say most often: for users who have none."""
    task = questions.task
    if not task.closed:
        return ""
    if task.kind == "rating":
        values = sorted(float(r.output) for item in questions.items for r in item.records)
        if not values:
            return task.labels[len(task.labels) // 2] if task.labels else ""
        return f"{values[(len(values) - 1) // 2]:g}"
    counts = Counter(r.output for item in questions.items for r in item.records)
    if not counts:
        return task.labels[0] if task.labels else ""
    return counts.most_common(1)[0][0]
