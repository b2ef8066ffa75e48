"""What feedback says of whole pipelines: evidence for the gate beside that of held-out records.

Of a label or rating that the adapter chose with one answer of the LLM it is known
what the LLM alone would have said. Where its user then kept a label, by accepting,
choosing or editing, both are right or wrong by the user's own word. Of a text
that was chosen among several it isn't known what a single answer would have been,
and nothing is counted. Nothing is drawn by chance to find out, so every outcome
weighs the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from hydra_cli.core.feedback import Feedback
from hydra_cli.core.similarity import grade
from hydra_cli.core.tasks import TaskSpec

if TYPE_CHECKING:
    from hydra_cli.modeling.gate import Outcome, Pipeline

_ADAPTED: tuple[tuple[Pipeline, Pipeline], ...] = (("rag", "adapt1"), ("rerank", "rerank+adapt1"))
"""What the LLM alone gives, and the same with the adapter."""


def live_outcomes(
    said: Iterable[Feedback], task: TaskSpec, *, model: str, name: str
) -> list[Outcome]:
    """One outcome for each feedback on an answer of ``model`` that compares two pipelines.

    ``name`` is what the gate calls the user.
    """
    from hydra_cli.modeling.gate import Outcome

    if not task.closed:
        return []
    found = []
    for one in said:
        if one.model != model or one.text is None or not one.stages.get("adapt"):
            continue
        for alone, adapted in _ADAPTED:
            if (answer := one.known.get(alone)) is not None:
                quality = {
                    alone: grade(prediction=answer, reference=one.text, task=task),
                    adapted: grade(prediction=one.shown, reference=one.text, task=task),
                }
                found.append(Outcome(name, quality))
    return found
