"""Which base and head serve a user, and which stages may act for them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hydra_cli.core.errors import ModelError
from hydra_cli.core.feedback import Heard
from hydra_cli.core.plan import FirstStage
from hydra_cli.core.progress import Silent
from hydra_cli.core.protocols import LearningScorer, Recipe, Scorer, TextEncoder
from hydra_cli.core.tasks import TaskSpec
from hydra_cli.core.verdicts import Gate, Standing

if TYPE_CHECKING:
    from hydra_cli.core.weights import Weights
    from hydra_cli.store.contract import WeightStore


@dataclass(frozen=True, slots=True)
class Personalization:
    """A scorer, for each stage whether it is on, and what is known of why.

    Without ``records`` the prompt holds none: the plain prompt did better.
    ``n`` answers are asked for where nobody says otherwise (None: the plan's); at 0
    ``control`` answers where it is named, else the adapter, which ``labels_alone`` lets
    score labels that no LLM gave. ``first_stage`` are the recipe's own settings.
    """

    scorer: Scorer
    rerank: bool
    adapt: bool
    standing: Standing
    records: bool = True
    first_stage: FirstStage = ()
    n: int | None = None
    control: str = ""
    labels_alone: bool = False
    recipe: str = ""
    heard: int = 0
    """Answers whose feedback moves the scorer."""

    @staticmethod
    def of(scorer: Scorer, standing: Standing, recipe: Recipe) -> Personalization:
        """The stages as the gate has them."""
        gate = standing.gate
        return Personalization(
            scorer,
            gate.rerank,
            gate.adapt,
            standing,
            gate.records,
            recipe.first_stage,
            gate.n,
            gate.control,
            recipe.labels_alone,
            recipe.name,
        )

    def after(self, heard: Heard) -> Personalization:
        """The same once its user was heard; what was said of another recipe's answers is not."""
        if not isinstance(self.scorer, LearningScorer):
            return self
        own = heard.of(self.recipe, self.scorer.feature_set)
        scorer = self.scorer.after(own)
        return self if scorer is self.scorer else replace(self, scorer=scorer, heard=len(own))

    def bare(self) -> Personalization:
        """The same without reranker and adapter: what RAG gives."""
        return replace(self, rerank=False, adapt=False, n=None, control="")


def personalization(
    weights: WeightStore, user: str, task: TaskSpec, recipe: Recipe, encoder: TextEncoder
) -> Personalization:
    """The user's own head, else the population's, else the recipe's built-in weights.

    ModelError where a file is damaged, or was made for another encoder or base.
    """
    base = load_base(weights, task, recipe, encoder)
    if base is None:
        # Every recipe can start from its prior: nobody is left without an answer.
        prior = recipe.train_base(task, [], [], encoder, seed=0, progress=Silent())
        scorer = recipe.scorer(prior, None, task, encoder)
        return Personalization.of(scorer, Standing("built-in", user), recipe)
    head = load_head(weights, user, task, recipe, base)
    gate = Gate.of((head or base).card.gate)
    standing = Standing("head" if head else "population", user, gate)
    return Personalization.of(recipe.scorer(base, head, task, encoder), standing, recipe)


def load_base(
    weights: WeightStore, task: TaskSpec, recipe: Recipe, encoder: TextEncoder
) -> Weights | None:
    """The task's base, or None where none was trained."""
    base = weights.base(task.name, recipe.name)
    if base is not None and base.card.encoder != encoder.fingerprint:
        raise ModelError(
            f"the base model of {task.name} was made for another encoder than {encoder.name}",
            hint="run `hydra-pers fit` to train it anew, or name the encoder it was made for",
        )
    return base


def load_head(
    weights: WeightStore, user: str, task: TaskSpec, recipe: Recipe, base: Weights
) -> Weights | None:
    """The user's head, or None where none was fitted."""
    head = weights.head(user, task.name, recipe.name)
    if head is None:
        return None
    head.check_base(base)
    if head.card.user != user:
        raise ModelError(
            f"the head of {user!r} belongs to another user", hint="run `hydra-pers fit` again"
        )
    return head
