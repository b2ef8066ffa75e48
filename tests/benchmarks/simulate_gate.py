"""What is the gate's rule worth? The tables of docs/design/gate.md, from drawn worlds.

    python -m tests.benchmarks.simulate_gate --worlds 400

A world has a true mean gain of each pipeline and users who scatter around it;
held-out outcomes are drawn from it. Three quarters of the scatter is a mood that a
user's outcomes share and the next query doesn't (docs/design/histories.md). Each
rule decides, and is credited with the true gain of the user it decided for, less
the price of the calls. Regret is what it leaves to a rule that knows the truth of
the world (for a user without outcomes) or of the user.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hydra_cli.modeling.gate import LASTING, PRICE, Outcome, Pipeline, decide, gain_of

NOISE = 0.3
CALLS = 7
"""Answers that the stage asks for beyond the one without it."""
COST = PRICE * NOISE * CALLS


@dataclass(frozen=True, slots=True)
class World:
    """The mean of users' true gains, their outcomes, and one more user with theirs."""

    mean: float
    outcomes: Sequence[Outcome]
    own: Sequence[Outcome]
    own_gain: float


Rule = Callable[[Sequence[Outcome], Sequence[Outcome]], bool]
"""Own outcomes and others': whether the stage is on."""


def drawn(draw: random.Random, *, users: int, records: int, spread: float, scale: float) -> World:
    """Mean gain normal(0, scale), users' gains normal(mean, spread), outcomes around them."""
    mean = draw.gauss(0.0, scale)
    lasting = spread * LASTING**0.5
    gains = [draw.gauss(mean, lasting) for _ in range(users)]

    def of(user: str, gain: float) -> list[Outcome]:
        found = []
        gain += draw.gauss(0.0, spread * (1.0 - LASTING) ** 0.5)
        for _ in range(records):
            rag = draw.gauss(0.5, NOISE / 2)
            found.append(Outcome(user, {"rag": rag, "adapt": rag + gain + draw.gauss(0.0, NOISE)}))
        return found

    others = [one for i, gain in enumerate(gains) for one in of(f"u{i}", gain)]
    own_gain = draw.gauss(mean, lasting)
    return World(mean, others, of("me", own_gain), own_gain)


def expected_gain(own: Sequence[Outcome], others: Sequence[Outcome]) -> bool:
    """Today's rule."""
    return decide(own, others, answers=CALLS + 1).adapt


def probable(own: Sequence[Outcome], others: Sequence[Outcome]) -> bool:
    """The rule before: on where this user gains with probability .7 or more."""
    return gain_of(own, others, stage="adapt", baseline="rag").probability >= 0.7


RULES: dict[str, Rule] = {
    "sign of the expected gain": expected_gain,
    "probability of a gain .7": probable,
    "always on": lambda own, others: True,
    "always off": lambda own, others: False,
}


def regrets(
    worlds: Sequence[World], *, with_own: bool, rules: Sequence[str] = tuple(RULES)
) -> dict[str, float]:
    """Mean regret of each rule, for one user of every world: new, or with own outcomes."""
    found = {}
    for name in rules:
        lost = 0.0
        for world in worlds:
            true = (world.own_gain if with_own else world.mean) - COST
            on = RULES[name](world.own if with_own else (), world.outcomes)
            lost += max(true, 0.0) - (true if on else 0.0)
        found[name] = lost / len(worlds)
    return found


def claimed_and_true(draw: random.Random, *, worlds: int, users: int) -> tuple[float, float]:
    """Gains of the chosen of six pipelines over RAG: as they are believed, and as they are.

    The best of several noisy means is too good to be true; shrinkage takes that back.
    """
    names: tuple[Pipeline, ...] = ("rerank", "adapt1", "rerank+adapt1", "adapt", "rerank+adapt")
    believed = true = 0.0
    for _ in range(worlds):
        means: dict[Pipeline, float] = {"rag": 0.0} | {
            name: draw.gauss(0.0, 0.05) for name in names
        }
        outcomes = [
            Outcome(f"u{user}", {m: 0.5 + mean + draw.gauss(0, NOISE) for m, mean in means.items()})
            for user in range(users)
            for _ in range(4)
        ]
        gate = decide([], outcomes)
        chosen: Pipeline = "rag"
        if gate.adapt:
            chosen = gate.verdicts["adapt"].method  # type: ignore[assignment]
        elif gate.rerank:
            chosen = "rerank"
        if chosen != "rag":
            believed += gain_of([], outcomes, stage=chosen, baseline="rag").mean
            true += means[chosen]
    return believed / worlds, true / worlds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--worlds", type=int, default=400)
    count = parser.parse_args().worlds
    print(f"| users, spread | {' | '.join(RULES)} |\n|---|{'---|' * len(RULES)}")
    for users in (5, 20, 100):
        for spread in (0.05, 0.2):
            draw = random.Random(f"{users}{spread}")
            worlds = [
                drawn(draw, users=users, records=6, spread=spread, scale=0.08) for _ in range(count)
            ]
            cells = [
                f"{new:.4f} / {own:.4f}"
                for new, own in zip(
                    regrets(worlds, with_own=False).values(),
                    regrets(worlds, with_own=True).values(),
                    strict=True,
                )
            ]
            print(f"| {users}, {spread} | {' | '.join(cells)} |", flush=True)
    for users in (5, 20, 100):
        believed, true = claimed_and_true(random.Random(users), worlds=count, users=users)
        print(f"best of six, {users} users: believed {believed:+.4f}, true {true:+.4f}", flush=True)


if __name__ == "__main__":
    main()
