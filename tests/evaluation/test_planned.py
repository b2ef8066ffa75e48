"""What a run would ask, against what it asks."""

from __future__ import annotations

import pytest

from hydra_cli.core.plan import AnswerPlan
from hydra_cli.core.progress import Silent
from hydra_cli.evaluation.asking import request_key
from hydra_cli.evaluation.engine import EvalPlan
from hydra_cli.evaluation.methods import parse_methods
from hydra_cli.evaluation.planned import planned_requests
from hydra_cli.models.hash_encoder import HashEncoder
from tests.evaluation.helpers import PROMPT_ONLY, SMALL, echo_chat, material, run


def planned(task: str, methods: str) -> set[str]:
    from hydra_cli.modeling.recipes import recipe_named

    data = material(task)
    stages = planned_requests(
        data.questions,
        data.train,
        EvalPlan(parse_methods(methods), answering=AnswerPlan(n=4), training=SMALL),
        encoder=HashEncoder(),
        open_recipe=recipe_named,
        progress=Silent(),
    )
    return {request_key(request) for _, requests in stages for request in requests}


def test_prompt_based_methods_are_planned_exactly() -> None:
    chat = echo_chat()
    methods = PROMPT_ONLY.replace(",pag", ",consensus,knn")
    run("LaMP_2N", methods, chat=chat)
    assert planned("LaMP_2N", methods) == {request_key(request) for request in chat.requests}


@pytest.mark.parametrize("task", ["LaMP_2N", "LaMP_4"])
def test_fits_and_gates_are_planned_from_above(task: str) -> None:
    chat = echo_chat()
    run(task, "hydra-pers,rag-fused,pag,consensus", chat=chat)
    made = len({request_key(request) for request in chat.requests})
    # Reranked evidence may be the first stage's, the gate may turn stages off, and for labels
    # more than one answer may be no question.
    assert made <= len(planned(task, "hydra-pers,rag-fused,pag,consensus")) <= 1.5 * made
