"""Which base and head serve a user, and which stages may act for them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hydra_cli.core.errors import ModelError
from hydra_cli.core.progress import Silent
from hydra_cli.core.protocols import Recipe, Scorer, TextEncoder
from hydra_cli.core.tasks import TaskSpec

if TYPE_CHECKING:
    from hydra_cli.modeling.weights import Weights

STAGES = ("rerank", "adapt")


@dataclass(frozen=True, slots=True)
class Personalization:
    """A scorer, and for each stage whether it is on and why, in words.

    Without ``records`` the prompt holds none: the plain prompt did better.
    """

    scorer: Scorer
    rerank: bool
    adapt: bool
    stages: dict[str, str]
    records: bool = True


def personalization(
    store: Path, user: str, task: TaskSpec, recipe: Recipe, encoder: TextEncoder
) -> Personalization:
    """The user's own head, else the population's, else the recipe's built-in weights.

    ModelError where a file is damaged, or was made for another encoder or base.
    """
    base = load_base(store, task, recipe, encoder)
    if base is None:
        # Every recipe can start from its prior: nobody is left without an answer.
        prior = recipe.train_base(task, [], [], encoder, seed=0, progress=Silent())
        scorer = recipe.scorer(prior, None, task, encoder)
        used = "built-in weights (no base model yet: run `hydra-pers fit`)"
        return Personalization(scorer, True, True, dict.fromkeys(STAGES, used))
    head = load_head(store, user, task, recipe, base)
    scorer = recipe.scorer(base, head, task, encoder)
    gate = (head or base).card.gate
    used = f"head of {user}" if head else "population head"
    on = {stage: bool(gate.get(stage, True)) for stage in STAGES}
    reasons = {stage: str(gate.get(f"{stage}_reason", "not judged")) for stage in STAGES}
    stages = {
        stage: f"{used}; {reasons[stage]}" if on[stage] else f"off: {_why(reasons[stage])}"
        for stage in STAGES
    }
    records = bool(gate.get("records", True))
    if not records:
        stages["records"] = f"off: {_why(str(gate.get('records_reason', '')))}"
    return Personalization(scorer, on["rerank"], on["adapt"], stages, records)


def _why(reason: str) -> str:
    """The reason without the words "reranker off: " in front of it."""
    return reason.partition(" off: ")[2] or reason


def load_base(store: Path, task: TaskSpec, recipe: Recipe, encoder: TextEncoder) -> Weights | None:
    """The task's base, or None where none was trained."""
    from hydra_cli.modeling.weights import Weights, base_path

    path = base_path(store, task.name, recipe.name)
    if not path.is_file():
        return None
    base = Weights.load(path)
    if base.card.encoder != encoder.fingerprint:
        raise ModelError(
            f"the base model of {task.name} was made for another encoder than {encoder.name}",
            hint="run `hydra-pers fit` to train it anew, or name the encoder it was made for",
        )
    return base


def load_head(
    store: Path, user: str, task: TaskSpec, recipe: Recipe, base: Weights
) -> Weights | None:
    """The user's head, or None where none was fitted."""
    from hydra_cli.modeling.weights import Weights, head_path

    path = head_path(store, user, task.name, recipe.name)
    if not path.is_file():
        return None
    head = Weights.load(path)
    head.check_base(base)
    if head.card.user != user:
        raise ModelError(
            f"the head at {path.name} belongs to another user", hint="run `hydra-pers fit` again"
        )
    return head
