"""Results for machines. Undefined figures are null, never nan."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from hydra_cli.core.records import Usage
from hydra_cli.core.statistics import Estimate
from hydra_cli.evaluation.results import (
    Baseline,
    Contrast,
    MethodResult,
    Provenance,
    TaskResult,
    apart,
    average_gains,
    left_out,
)
from hydra_cli.evaluation.verdict import Verdict, verdict_on


def task_mapping(result: TaskResult) -> dict[str, Any]:
    """One task's results."""
    return {
        "task": result.task,
        "kind": result.kind,
        "model": result.model,
        "seed": result.seeds[0],
        "seeds": list(result.seeds),
        "queries": result.queries,
        "users": result.users,
        "n": result.settings.get("n"),
        "k": result.settings.get("k"),
        "settings": dict(result.settings),
        "training": {"users": result.train_users, "examples": result.train_examples},
        "complete": result.complete,
        "error": result.error.message if result.error else None,
        "best_prompt_based": result.best_prompt_based,
        "best_control": result.best.get("control"),
        "own_style": result.own_style,
        "seen_in_training": {
            "queries": len(result.seen),
            "quality": {name: list(found) for name, found in apart(result).items()},
        },
        "verdict": verdict_mapping(verdict_on(result)),
        "better_is": {m.name: "higher" if m.higher else "lower" for m in result.metrics},
        "methods": {name: method_mapping(m) for name, m in result.methods.items()},
        "contrasts": [contrast_mapping(each) for each in result.contrasts],
        "donors": dict(result.donors),
        "usage": usage_mapping(result.used),
        "seconds": {stage: round(value, 3) for stage, value in result.seconds.items()},
        "notes": list(result.notes),
    }


def suite_mapping(results: Sequence[TaskResult], made: Provenance | None = None) -> dict[str, Any]:
    """One task's mapping where there is one; else all of them and the averages over tasks."""
    head: dict[str, Any] = {}
    if made is not None:
        head = {
            "command": made.command,
            "date": made.at.isoformat(timespec="seconds"),
            "version": made.version,
        }
    if len(results) == 1:
        return {**head, **task_mapping(results[0])}
    return {
        **head,
        "model": results[0].model if results else None,
        "seeds": list(results[0].seeds) if results else [],
        "complete": all(result.complete for result in results),
        "tasks": {result.task: task_mapping(result) for result in results},
        "average_relative_gain": {
            name: estimate_mapping(found) for name, found in average_gains(results).items()
        },
        "average_gain_over_control": {
            name: estimate_mapping(found)
            for name, found in average_gains(results, "control").items()
        },
        "average_gain_over_either": {
            name: estimate_mapping(found)
            for name, found in average_gains(results, "either").items()
        },
        "not_averaged": left_out(results),
    }


def verdict_mapping(found: Verdict | None) -> dict[str, Any] | None:
    """Qualities in [0, 1], their difference, and whether chance alone could explain it."""
    if found is None:
        return None
    return {
        "method": found.method,
        "against": found.against,
        "quality": number(found.ours),
        "against_quality": number(found.theirs),
        "difference": number(found.difference.value),
        "interval": [number(found.difference.low), number(found.difference.high)],
        "beyond_chance": found.beyond_chance,
    }


def contrast_mapping(found: Contrast) -> dict[str, Any]:
    """Mean quality of a method minus that of the same with one thing changed."""
    return {
        "method": found.method,
        "against": found.against,
        "difference": number(found.points.value),
        "interval": [number(found.points.low), number(found.points.high)],
        "share_above_zero": number(found.points.above_zero),
    }


def method_mapping(method: MethodResult) -> dict[str, Any]:
    calls = method.usage + method.setup
    return {
        "family": method.family,
        "about": method.about,
        "metrics": {name: number(value) for name, value in method.metrics.items()},
        "intervals": {
            name: [number(low), number(high)] for name, (low, high) in method.intervals.items()
        },
        "by_seed": {str(seed): dict(values) for seed, values in method.by_seed.items()},
        "queries": method.queries,
        "users": method.users,
        "missing": method.missing,
        "cut": method.cut,
        "complete": method.complete,
        "error": method.error,
        "gain": None
        if method.gain is None
        else {
            **estimate_mapping(method.gain),
            "metrics": {name: number(value) for name, value in method.relative.items()},
            "differences": {
                name: estimate_mapping(found) for name, found in method.differences.items()
            },
        },
        "gain_over_control": gain_mapping(method, "control"),
        "gain_over_either": gain_mapping(method, "either"),
        "quality": number(method.quality),
        **usage_mapping(calls),
        "setup": usage_mapping(method.setup),
        "seconds": round(method.seconds, 3),
        "stages": {
            "reranked_users": method.reranked_users,
            "adapted_users": method.adapted_users,
            "plain_users": method.plain_users,
        },
    }


def gain_mapping(method: MethodResult, baseline: Baseline) -> dict[str, Any] | None:
    found = method.gains.get(baseline)
    return None if found is None else estimate_mapping(found)


def usage_mapping(usage: Usage) -> dict[str, Any]:
    """``calls`` counts all that the answers took, ``cached_calls`` those not made again."""
    return {
        "calls": usage.calls + usage.cached_calls,
        "cached_calls": usage.cached_calls,
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "tokens": usage.prompt_tokens + usage.completion_tokens,
        "cost": usage.cost,
    }


def estimate_mapping(found: Estimate) -> dict[str, Any]:
    return {
        "relative": number(found.value),
        "interval": [number(found.low), number(found.high)],
        "share_above_zero": number(found.above_zero),
    }


def number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def predictions_mapping(result: TaskResult) -> list[Mapping[str, Any]]:
    """One line for each scored answer."""
    return [
        {
            "task": result.task,
            "method": name,
            "seed": prediction.seed,
            "user": prediction.key[0],
            "id": prediction.key[1],
            "prediction": prediction.text,
            "quality": round(prediction.quality, 6),
            "records": prediction.records,
        }
        for name, method in result.methods.items()
        for prediction in method.predictions
    ]
