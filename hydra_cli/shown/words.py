"""The gate's figures in plain words: what a stage does for a user, and how sure that is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hydra_cli.core.verdicts import STAGES, Stage, Standing, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hydra_cli.core.records import Answer
    from hydra_cli.core.tasks import Kind, TaskSpec
    from hydra_cli.core.verdicts import Answers, Gain, Gate

NAMES: dict[Stage, str] = {"records": "records", "rerank": "reranker", "adapt": "adapter"}
ANSWERS = "answers"
"""How many answers of the LLM are asked for: told like a stage where a task can do without."""
BASELINES = {
    "plain": "the plain prompt",
    "rag": "an answer without it",
    "rerank": "an answer without it",
    "majority": "the user's most frequent label",
    "knn": "a vote of the most similar records",
    "lead": "the opening words of the query",
}
SOURCES = {
    "head": "their own head",
    "population": "everyone's weights, no head of their own",
    "built-in": "built-in weights, nothing was fitted yet",
    "method": "as the method has it",
}


def line(verdict: Verdict, task: TaskSpec) -> str:
    """``on: right 7 times out of 10 instead of 5 (8 held-out records: could be luck)``."""
    return f"{'on' if verdict.on else 'off'}{reason(verdict, task)}"


def reason(verdict: Verdict, task: TaskSpec) -> str:
    """What follows the word on or off."""
    if verdict.code == "untested":
        return ", untested: no LLM was asked about held-out records"
    if verdict.code == "unused":
        return ": no record is shown"
    gain = verdict.gain
    if gain is None or verdict.quality is None or verdict.without is None:
        return " (judged by an earlier release)"
    baseline = BASELINES.get(verdict.baseline, verdict.baseline)
    told = compared(verdict.quality, verdict.without, task.kind, task.labels)
    helps_others = verdict.on and gain.mean > 0.0 and verdict.quality <= verdict.without
    if helps_others:
        told = f"it helps others, {told}"
    prefix = (
        ""
        if helps_others
        else {
            "level": f"no worse than {baseline}: ",
            "unproven": "no clear gain: ",
            "harmful": f"{baseline} does better: ",
        }.get(verdict.code, "")
    )
    rival = ""
    if verdict.rival:
        asks = ", which asks no LLM, does" if verdict.rival != "lead" else " alone match"
        rival = f"; yet {BASELINES[verdict.rival]}{asks} better"
    return f": {prefix}{told} ({how_sure(gain)}){rival}"


def answers_line(answers: Answers | None, task: TaskSpec) -> str:
    """``none: right 7 times out of 10 instead of 6.5 with them (...)``, for labels and ratings."""
    if answers is None:
        return "one, untested: no LLM was asked about held-out records"
    count = {0: "none", 1: "one"}.get(answers.n, str(answers.n))
    by = f": {BASELINES[answers.method]} answers" if answers.method in BASELINES else ""
    if not by and not answers.n:
        by = ": the adapter does without"
    if answers.gain is None or answers.quality is None or answers.without is None:
        return f"{count}{by}"
    told = compared(answers.quality, answers.without, task.kind, task.labels)
    return f"{count}{by}{', ' if by else ': '}{told} ({how_sure(answers.gain)})"


def compared(quality: float, without: float, kind: Kind, labels: Sequence[str] = ()) -> str:
    """One number that people know, for means in [0, 1]."""
    if kind == "generation":
        if quality >= 3.0 * without > 0:
            return f"{_number(quality / without, 0)} times as close to what they really wrote"
        if not without:
            near = "close to what they really wrote" if quality else "as far from it"
            return f"{near}, where without it nothing matched"
        change = (quality / without - 1.0) * 100.0
        if abs(change) < 0.5:
            return "as close to what they really wrote"
        far = "closer to" if change > 0 else "farther from"
        return f"{_number(abs(change), 0)} % {far} what they really wrote"
    if kind == "rating" and labels:
        span = float(labels[-1]) - float(labels[0])
        off, before = ((1.0 - value) * span for value in (quality, without))
        return f"off by {_number(off, 2)} instead of {_number(before, 2)}"
    return f"right {_number(quality * 10)} times out of 10 instead of {_number(without * 10)}"


def how_sure(gain: Gain) -> str:
    """``8 held-out records and 40 of others: could be luck``."""
    certain = max(gain.probability, 1.0 - gain.probability)
    steps = ((0.95, "hardly luck"), (0.8, "probably not luck"), (0.0, "could be luck"))
    luck = next(said for least, said in steps if certain >= least)
    if gain.own and gain.others:
        return f"{gain.own} held-out records and {gain.others} of others: {luck}"
    return f"{gain.own or gain.others} held-out records{'' if gain.own else ' of all'}: {luck}"


def explained(standing: Standing, task: TaskSpec) -> dict[str, str]:
    """Every stage in words, for ``--explain`` and ``--json``."""
    if standing.source == "built-in":
        why = f"{SOURCES['built-in']} (`hydra-pers fit`)"
        verdicts = standing.gate.verdicts
        return {stage: f"{'on' if verdicts[stage].on else 'off'}; {why}" for stage in STAGES}
    whose, gate = SOURCES[standing.source], standing.gate
    found: dict[str, str] = {stage: line(v, task) for stage, v in gate.verdicts.items()}
    if task.closed:
        found[ANSWERS] = answers_line(gate.answers, task)
    return {stage: f"{told}; {whose}" for stage, told in found.items()}


def name_of(stage: str) -> str:
    """What a stage of ``explained`` is called."""
    return next((name for known, name in NAMES.items() if known == stage), stage)


def in_short(standing: Standing) -> str:
    """``mia: records and adapter on; judged on 8 of their records``."""
    if standing.source == "built-in":
        return f"{standing.user}: {SOURCES['built-in']} (`hydra-pers fit`)"
    return f"{standing.user}: {stages_on(standing.gate)}; {judged_on(standing.gate)}"


def of_answer(answer: Answer) -> str:
    """``in_short`` of how the query was answered: also where no LLM was asked."""
    standing = answer.standing
    if answer.details.get("answers"):
        return in_short(standing)
    by = BASELINES.get(standing.gate.control, "the adapter alone")
    told = standing.gate.n == 0 and standing.gate.evidence != "history"
    why = ", its answers win nothing here" if told else ""
    judged = "" if standing.source == "built-in" else f"; {judged_on(standing.gate)}"
    return f"{standing.user}: {by}, no LLM was asked{why} (`-n 1` asks it){judged}"


def stages_on(gate: Gate) -> str:
    """Which stages are on."""
    on = [NAMES[stage] for stage in STAGES if gate.verdicts[stage].on]
    if not on:
        return "plain prompt, nothing else helped"
    return f"{', '.join(on[:-1])}{' and ' if on[:-1] else ''}{on[-1]} on"


def judged_on(gate: Gate) -> str:
    """By how many records of whom."""
    if gate.own:
        return f"judged on {gate.own} of their records"
    return f"judged on {gate.others} records of all users" if gate.others else "untested"


def cut_short(task: str, tokens: int) -> str:
    """``the answer was cut at 40 tokens: `hydra-pers config set ...```, with twice as many."""
    from shlex import quote

    key = quote(f"tasks.{task}.answer_tokens")
    return f"the answer was cut at {tokens} tokens: `hydra-pers config set {key} {2 * tokens}`"


def _number(value: float, digits: int = 1) -> str:
    return f"{round(value, digits):g}"
