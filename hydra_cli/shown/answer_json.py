"""An answer as JSON, for ``ask --json`` and ``ask --file``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from hydra_cli.core.records import Answer
from hydra_cli.core.tasks import TaskSpec
from hydra_cli.shown import words


def as_mapping(answer: Answer, task: TaskSpec, seconds: float) -> dict[str, Any]:
    """Everything about an answer, for machines."""
    query = answer.query
    return {
        "answer": answer.text,
        "answer_id": answer.id,
        "cut": answer.cut,
        "user": query.user,
        "task": query.task,
        "query": query.text,
        "model": answer.details.get("model"),
        "evidence": [
            {"id": s.item.id, "input": s.item.input, "output": s.item.output, "score": s.score}
            for s in answer.evidence
        ],
        "candidates": [
            {
                "text": s.item.text,
                "score": s.score,
                "sample": s.item.sample,
                "logprob": s.item.logprob,
                "cut": s.item.cut,
            }
            for s in answer.candidates
        ],
        "answers": answer.details.get("answers", []),
        "stages": words.explained(answer.standing, task),
        "gate": {"source": answer.standing.source, **answer.standing.gate.card},
        "feedback": answer.details.get("heard", 0),
        "usage": asdict(answer.usage),
        "cost": answer.usage.cost,
        "seconds": {**answer.seconds, "total": seconds},
    }
