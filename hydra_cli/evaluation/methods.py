"""The methods that can be compared. A new one is one registration.

A personalized method is the pipeline that ``ask`` runs, with a recipe and the
stages it has. Every other one is an evidence selector, a sampler and a chooser.
None is given a reference; only the ``oracle``, which is an upper bound, has its
answer picked by the engine's scoring.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Literal, cast

from hydra_cli.core.errors import NotFound, UsageError
from hydra_cli.core.prompts import build_messages
from hydra_cli.core.protocols import ChatRequest
from hydra_cli.core.records import Candidate, QueryContext
from hydra_cli.core.tasks import KINDS, Kind, TaskSpec
from hydra_cli.evaluation import selectors as parts
from hydra_cli.evaluation.conditions import Conditions
from hydra_cli.evaluation.histories import OWN, Variant
from hydra_cli.pipeline.answering import draft

if TYPE_CHECKING:
    from hydra_cli.evaluation.histories import Source

Family = Literal["prompt", "personalized", "best-of-n", "no LLM", "bound"]

CLOSED: tuple[Kind, ...] = ("classification", "rating")


@dataclass(frozen=True, slots=True)
class RecipeUse:
    """How a personalized method uses a recipe of ``modeling.recipes``.

    ``gated`` asks the gate which stages may act for each user, ``fitted`` fits
    a head on the user's own records first; ``rerank`` and ``adapt`` say which
    stages exist at all. The first stage is the run's where the recipe has none.
    """

    recipe: str
    gated: bool = False
    fitted: bool = True
    rerank: bool = True
    adapt: bool = True


@dataclass(frozen=True, slots=True)
class Parts:
    """What a prompt or a control is made of."""

    select: parts.Selector
    sample: parts.Sampler
    choose: parts.Chooser


@dataclass(frozen=True, slots=True, eq=False)
class Drafted:
    """What a method asks of the LLM for one query (None: nothing), and its choice.

    ``choose`` turns the LLM's answers into the method's own.
    """

    request: ChatRequest | None
    choose: Callable[[Sequence[Candidate]], str]


@dataclass(frozen=True, slots=True)
class Method:
    """One way to answer a query. ``k`` and ``n`` override the run's."""

    name: str
    family: Family
    about: str
    parts: Parts | None = None
    kinds: tuple[Kind, ...] = KINDS
    summary: bool = False
    """Puts a summary of the user into the prompt."""
    use: RecipeUse | None = None
    k: int | None = None
    n: int | None = None
    seeded: bool = True
    """Whether chance plays a part: if not, one seed tells all."""
    by_name_only: bool = False
    """Left out of ``all``, because training it takes long on a CPU."""
    variant: Variant = OWN
    """Which history stands in for the user's own."""
    pooled: bool = False
    """Looks at the training users' records."""

    @property
    def base_name(self) -> str:
        """The name without overrides."""
        return self.name.partition("@")[0]

    @property
    def fit_key(self) -> tuple[str, Variant]:
        """Fits are shared between the methods that differ in k and n alone."""
        return self.base_name, self.variant

    @property
    def bound(self) -> bool:
        return self.family == "bound"

    def settle(self, setting: Conditions) -> Conditions:
        """The run's setting with the method's own k and n."""
        if self.k is None and self.n is None:
            return setting
        k = setting.plan.k if self.k is None else self.k
        n = setting.plan.n if self.n is None else self.n
        return replace(setting, plan=replace(setting.plan, k=k, n=n))

    def draft(self, setting: Conditions, context: QueryContext) -> Drafted:
        """The method's request for a query, without sending it."""
        return self._personal(setting, context) if self.use else self._prompt(setting, context)

    def _personal(self, setting: Conditions, context: QueryContext) -> Drafted:
        assert self.use is not None
        personal = setting.personal[self.fit_key, context.query.user]
        drafted = draft(context, setting.task, personal, setting.plan)
        return Drafted(drafted.request, lambda found: drafted.text_of(drafted.choose(found)))

    def _prompt(self, setting: Conditions, context: QueryContext) -> Drafted:
        assert self.parts is not None
        choose, sampling = self.parts.choose, self.parts.sample(setting)
        request = None
        if sampling is not None:
            user = context.query.user
            profile = setting.summaries[self.variant, user] if self.summary else ""
            evidence = self.parts.select(setting, context)
            messages = build_messages(context.query, evidence, setting.task, profile=profile)
            request = ChatRequest(messages, sampling, context.query.user)
        return Drafted(request, lambda found: choose(setting, context, found))


OURS = "hydra-pers"
METHODS: dict[str, Method] = {}


def register(method: Method) -> Method:
    """Make a method known by its name."""
    METHODS[method.name] = method
    return method


def personalized(name: str, about: str, use: RecipeUse, *, by_name_only: bool = False) -> Method:
    """A method that answers as ``ask`` would with this use of a recipe."""
    return Method(name, "personalized", about, use=use, by_name_only=by_name_only)


def _prompt(name: str, about: str, select: parts.Selector, **options: bool) -> Method:
    return Method(
        name,
        "prompt",
        about,
        Parts(select, parts.greedy, parts.first),
        seeded=name == "icl-random",
        summary=options.get("summary", False),
    )


def _of_n(name: str, about: str, choose: parts.Chooser, family: Family = "best-of-n") -> Method:
    return Method(name, family, about, Parts(parts.first_stage(), parts.drawn, choose))


def _free(name: str, about: str, choose: parts.Chooser, kinds: tuple[Kind, ...]) -> Method:
    made_of = Parts(parts.no_evidence, parts.no_answers, choose)
    return Method(name, "no LLM", about, made_of, kinds=kinds, seeded=False)


for _method in (
    _prompt("zero-shot", "the query alone", parts.no_evidence),
    _prompt("icl-random", "k records by chance", parts.random_records),
    _prompt("rag-bm25", "k records by BM25", parts.first_stage("bm25")),
    _prompt("rag-dense", "k records by cosine", parts.first_stage("dense")),
    _prompt("rag-fused", "k records by BM25 and cosine, fused", parts.first_stage("fused")),
    _prompt("rag-recency", "the k newest records", parts.first_stage("recency")),
    _prompt("pag", "a summary of the user and k records", parts.first_stage(), summary=True),
    personalized(
        "rerank", "our reranker, no adapter", RecipeUse("hydra-pers", fitted=True, adapt=False)
    ),
    personalized(
        "adapt", "our adapter, no reranker", RecipeUse("hydra-pers", fitted=True, rerank=False)
    ),
    personalized(
        "hydra",
        "the paper (arXiv 2406.02888): BM25 top 10, dense heads, its labels",
        RecipeUse("hydra"),
    ),
    personalized(
        "hydra-paper",
        "as hydra, with the release's step sizes and random start",
        RecipeUse("hydra-paper"),
        by_name_only=True,
    ),
    personalized(
        "mof",
        "facet heads mixed by a router, no fit (arXiv 2610.08330)",
        RecipeUse("mof", fitted=False),
        by_name_only=True,
    ),
    personalized(
        "hydra-pers-zero",
        "ours for a user without a fit",
        RecipeUse("hydra-pers", gated=True, fitted=False),
    ),
    personalized("hydra-pers", "ours: fitted and gated", RecipeUse("hydra-pers", gated=True)),
    _of_n("random-of-n", "one of the n answers by chance", parts.by_chance),
    _of_n("consensus", "majority or medoid of the n answers", parts.consensus),
    _of_n("oracle", "the upper bound: picks by the reference", parts.first, "bound"),
    _free(
        "majority",
        "the user's most frequent label",
        parts.usual_label,
        ("classification",),
    ),
    _free("median", "the user's median rating", parts.usual_label, ("rating",)),
    _free(
        "knn",
        "a vote of the k most similar records",
        parts.neighbours_vote,
        CLOSED,
    ),
    replace(
        _free(
            "knn-all",
            "a vote of the k most similar records of all users",
            parts.everyones_vote,
            CLOSED,
        ),
        pooled=True,
    ),
    _free("lead", "the query's opening words", parts.opening_words, ("generation",)),
):
    register(_method)

BESIDE = ("hydra-pers@n=0", "hydra-pers@n=1")
"""Variants that stand in every table: what the LLM's answers are worth."""

_OVERRIDE = re.compile(r"([kn]|newest)=(\d+)|history=(own|other|none)")


def parse_methods(names: str) -> tuple[Method, ...]:
    """``all``, or names separated by commas, each with overrides at will.

    ``@k=1`` and ``@n=4`` change the run's settings, ``@history=other`` and
    ``@history=none`` exchange the user's history, ``@newest=20`` cuts it.
    """
    chosen: dict[str, Method] = {}
    for name in (part.strip() for part in names.split(",")):
        if name == "all":
            chosen |= {key: m for key, m in METHODS.items() if not m.by_name_only}
            chosen |= {key: named_method(key) for key in BESIDE}
        elif name:
            method = named_method(name)
            chosen[method.name] = method
    if not chosen:
        raise UsageError("no method was named", hint=f"known: all, {', '.join(METHODS)}")
    return tuple(chosen.values())


def named_method(text: str) -> Method:
    """One method with its overrides; NotFound with the nearest names."""
    name, *overrides = text.split("@")
    if name not in METHODS:
        near = get_close_matches(name, METHODS, n=3, cutoff=0.5)
        hint = f"did you mean {', '.join(near)}?" if near else f"known: all, {', '.join(METHODS)}"
        raise NotFound(f"unknown method {name!r}", hint=hint)
    method = METHODS[name]
    for override in overrides:
        found = _OVERRIDE.fullmatch(override)
        if found is None:
            raise UsageError(
                f"can't read {override!r} in {text!r}",
                hint="such as rag-bm25@k=1, hydra-pers@n=0, @history=other or @newest=20",
            )
        method = _overridden(method, text, found)
    return replace(method, name=text) if overrides else method


def _overridden(method: Method, text: str, found: re.Match[str]) -> Method:
    """The method with one override; UsageError where it can't have it."""
    if (source := found.group(3)) is not None:
        return replace(method, variant=replace(method.variant, source=cast("Source", source)))
    value = int(found.group(2))
    match found.group(1):
        case "k":
            return replace(method, k=value)
        case "newest":
            if not value:
                raise UsageError(f"{text!r}: newest must be at least 1", hint="@history=none")
            return replace(method, variant=replace(method.variant, newest=value))
    if value:
        return replace(method, n=value)
    if method.use is None or method.use.recipe != OURS or not method.use.adapt:
        raise UsageError(
            f"{text!r}: n must be at least 1",
            hint="hydra-pers alone answers labels and ratings without the LLM",
        )
    return replace(method, n=0, kinds=CLOSED)


def suited(methods: Sequence[Method], task: TaskSpec) -> tuple[tuple[Method, ...], tuple[str, ...]]:
    """The methods that apply to the task, and a note for each that doesn't."""
    fit = tuple(method for method in methods if task.kind in method.kinds)
    notes = tuple(
        f"{method.name} skipped: it is for {' and '.join(method.kinds)} tasks, "
        f"{task.name} is {task.kind}"
        for method in methods
        if task.kind not in method.kinds
    )
    return fit, notes
