"""The tiny LaMP-style data, a chat that answers from the prompt, and a run over both."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra_cli.core.plan import AnswerPlan
from hydra_cli.core.progress import Silent
from hydra_cli.core.protocols import ChatModel, ChatRequest
from hydra_cli.core.tasks import PRESETS
from hydra_cli.evaluation.engine import EvalPlan
from hydra_cli.evaluation.methods import parse_methods
from hydra_cli.evaluation.results import TaskResult
from hydra_cli.evaluation.training import TrainingPlan
from hydra_cli.llm.scripted import ScriptedChat
from hydra_cli.models.hash_encoder import HashEncoder
from hydra_cli.workflows.evaluate import DataLimits, Material, TaskFiles, evaluate, read_files

TINY = Path(__file__).parents[1] / "data" / "lamp_tiny"
PROMPT_ONLY = "zero-shot,icl-random,rag-bm25,rag-dense,rag-fused,rag-recency,pag"
CONTROLS = "random-of-n,consensus,oracle,majority,median,knn"
SMALL = TrainingPlan(examples=12, train_users=5, judged=8, per_user=2, held_out=2, llm=True)


def files(task: str, folder: Path = TINY) -> TaskFiles:
    part = folder / task
    return TaskFiles(
        part / "dev_questions.json",
        part / "dev_outputs.json",
        part / "train_questions.json",
        part / "train_outputs.json",
    )


def material(task: str, folder: Path = TINY, **limits: Any) -> Material:
    return read_files(files(task, folder), PRESETS, DataLimits(**limits))


def echo(request: ChatRequest, sample: int) -> str:
    """The answer of the nearest record in the prompt, else the query's first words.

    Later samples go back to earlier records, or to later words.
    """
    said = [m["content"] for m in request.messages if m["role"] == "assistant"]
    if said:
        return said[-1 - sample % len(said)]
    words = request.messages[-1]["content"].split()
    return " ".join(words[sample % 3 : sample % 3 + 5])


def echo_chat() -> ScriptedChat:
    return ScriptedChat(echo)


def run(
    task: str,
    methods: str,
    *,
    chat: ChatModel | None = None,
    data: Material | None = None,
    **options: Any,
) -> TaskResult:
    from hydra_cli.modeling.recipes import recipe_named

    plan = replace(
        EvalPlan(parse_methods(methods), answering=AnswerPlan(n=4), training=SMALL), **options
    )
    return evaluate(
        data or material(task),
        plan,
        encoder=HashEncoder(),
        chat=chat or echo_chat(),
        open_recipe=recipe_named,
        progress=Silent(),
        draws=200,
    )
