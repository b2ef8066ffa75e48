"""The gate's evidence: shrinkage, verdicts, and what it says about them."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest

from hydra_cli.core.verdicts import NOT_JUDGED, Gain, Gate, Verdict
from hydra_cli.modeling.gate import (
    Outcome,
    Pipeline,
    decide,
    gain_of,
    kept_outcomes,
    with_outcomes,
)


def outcomes(
    user: str, count: int, *, seed: int = 0, noise: float = 0.1, **means: float
) -> list[Outcome]:
    """``count`` held-out queries with each method's quality around its mean."""
    draw = random.Random(f"{seed}{user}")
    names = {name: name.replace("_", "+") for name in means}
    return [
        Outcome(user, {names[m]: mean + draw.gauss(0, noise) for m, mean in means.items()})  # type: ignore[misc]
        for _ in range(count)
    ]


def crowd(count: int, **means: float) -> list[Outcome]:
    return [o for i in range(count) for o in outcomes(f"u{i}", 4, **means)]


def test_gain_without_evidence_of_others_is_normal_normal_by_hand() -> None:
    own = [Outcome("a", {"adapt": 0.9, "rag": 0.5}), Outcome("a", {"adapt": 0.7, "rag": 0.5})]
    gain = gain_of(own, [], stage="adapt", baseline="rag")
    noise = (4 * 0.09 + 2 * 0.01) / 5  # four prior outcomes of variance 0.09, one degree of own
    prior = 0.05**2 / 4 + 0.1**2
    of_the_mean = noise / 2 + 0.05**2 * 3 / 4  # of two outcomes, which share their mood
    mean = (0.3 / of_the_mean) / (1 / prior + 1 / of_the_mean)
    assert gain.mean == pytest.approx(mean)
    assert gain.sd == pytest.approx((1 / prior + 1 / of_the_mean) ** -0.5)
    assert (gain.own, gain.others) == (2, 0)


def test_little_evidence_is_pulled_to_the_population() -> None:
    others = crowd(20, adapt=0.6, rag=0.5)
    bad_luck = [Outcome("me", {"adapt": 0.0, "rag": 0.2})]
    assert decide(bad_luck, others).adapt
    many = [Outcome("me", {"adapt": 0.0, "rag": 0.2})] * 60
    assert not decide(many, others).adapt


def test_a_run_of_like_outcomes_says_less_of_a_user_than_the_same_over_a_long_time() -> None:
    """Users' eight records agree among themselves and not with the next eight."""
    draw = random.Random(4)
    others = []
    for user in range(60):
        mood = draw.gauss(0.04, 0.08)
        for _ in range(8):
            majority = draw.gauss(0.7, 0.1)
            adapt0 = majority + mood + draw.gauss(0, 0.1)
            others.append(Outcome(f"u{user}", {"adapt0": adapt0, "majority": majority}))
    lost = [Outcome("me", {"adapt0": 0.65, "majority": 0.73})]
    after_a_run = decide(lost * 8, others)
    assert not after_a_run.control
    assert after_a_run.adapt
    assert decide(lost * 80, others).control == "majority"


def test_one_outcome_a_user_tells_nothing_of_how_users_differ() -> None:
    """However much single outcomes scatter, one bad one of one's own is no reason for a control."""
    draw = random.Random(5)
    others = []
    for user in range(120):
        count = 2 if user < 20 else 1  # those with two agree in both
        gain = draw.choice([-0.25, 0.0, 0.0, 0.0, 0.5] if count == 1 else [0.05])
        found = {"adapt0": 0.5 + gain, "majority": 0.5}
        others += [Outcome(f"u{user}", found)] * count  # type: ignore[arg-type]
    mine = [Outcome("me", {"adapt0": 0.25, "majority": 0.5})]
    assert not decide(mine, others).control


def test_one_or_two_records_of_ones_own_overrule_nobody() -> None:
    """Where others differ, a single miss would give the control to a user."""
    draw = random.Random(5)
    others = [
        Outcome(f"u{user}", {"adapt0": 0.8 + draw.gauss(0, 0.1), "majority": 0.79})
        for user in range(60)
        for _ in range(2)
    ]
    missed = [Outcome("me", {"adapt0": 0.0, "majority": 1.0})]
    assert gain_of(missed * 2, others, stage="adapt0", baseline="majority").own == 0
    assert decide(missed * 2, others).adapt
    assert not decide(missed * 3, others).adapt
    assert not decide(missed * 2, []).adapt, "there is nobody else to ask"


def test_a_stage_that_does_nothing_goes() -> None:
    same = [
        Outcome(f"u{i}", dict.fromkeys(("rag", "rerank", "adapt"), i % 3 / 2)) for i in range(20)
    ]  # type: ignore[arg-type]
    decision = decide([], same)
    assert not decision.rerank
    assert not decision.adapt
    assert decision.verdicts["rerank"].code == "unproven"


def test_a_clear_gain_is_taken_however_much_users_differ() -> None:
    """What a new user gains on average counts, not how many users gain."""
    draw = random.Random(1)
    found = []
    for user in range(500):
        gain = draw.gauss(0.1, 0.6)
        for _ in range(10):
            rag = draw.gauss(0.5, 0.2)
            found.append(
                Outcome(f"u{user}", {"rag": rag, "adapt": rag + gain + draw.gauss(0, 0.2)})
            )
    decision = decide([], found)
    assert decision.adapt
    gain_found = decision.verdicts["adapt"].gain
    assert gain_found is not None
    assert gain_found.mean == pytest.approx(0.1, abs=0.04)
    assert gain_found.probability < 0.7, "many users lose, and still most is won with it on"


def test_answers_must_be_worth_their_calls() -> None:
    """The same small gain: for nothing it is taken, for seven more answers it isn't."""
    draw = random.Random(2)

    def gaining(stage: str) -> list[Outcome]:
        rags = [draw.random() for _ in range(400)]
        return [Outcome(f"u{i}", {"rag": r, stage: r + 0.006}) for i, r in enumerate(rags)]  # type: ignore[dict-item]

    assert decide([], gaining("rerank")).rerank
    assert not decide([], gaining("adapt")).adapt


def test_a_label_that_no_answer_makes_better_needs_no_llm() -> None:
    others = crowd(20, rag=0.3, adapt0=0.6, majority=0.4, knn=0.4)
    same: tuple[Pipeline, ...] = ("adapt1", "adapt")
    decision = decide(
        [],
        [
            Outcome(o.user, {**o.quality, **dict.fromkeys(same, o.quality["adapt0"])})
            for o in others
        ],
    )
    assert decision.answers is not None
    assert (decision.n, decision.control) == (0, "")
    assert decision.adapt, "with answers asked for all the same, the adapter weighs them"


def test_one_answer_is_asked_for_where_more_win_nothing() -> None:
    others = crowd(30, rag=0.3, adapt1=0.7, adapt=0.7, adapt0=0.5, majority=0.4, knn=0.4)
    others = [Outcome(o.user, {**o.quality, "adapt": o.quality["adapt1"]}) for o in others]
    decision = decide([], others)
    assert (decision.n, decision.control) == (1, "")
    assert decision.answers is not None
    assert (decision.answers.method, decision.answers.baseline) == ("adapt1", "adapt0")
    many = crowd(30, rag=0.3, adapt1=0.7, adapt=0.8, adapt0=0.5, majority=0.4, knn=0.4)
    assert decide([], many).n == 8
    assert decide([], many, answers=5).n == 5


def test_the_better_control_answers_and_asks_nobody() -> None:
    others = crowd(20, rag=0.3, adapt=0.5, adapt0=0.5, majority=0.8, knn=0.4)
    decision = decide([], others)
    assert (decision.n, decision.control) == (0, "majority")
    free = decide([], crowd(20, adapt0=0.5, majority=0.8, knn=0.4))
    assert (free.n, free.control) == (0, "majority")
    assert not free.adapt
    read = Gate.of(json.loads(json.dumps(decision.card)))
    assert (read.n, read.control) == (0, "majority")


def test_the_openings_of_queries_are_named_and_never_used() -> None:
    decision = decide([], crowd(20, rag=0.2, adapt=0.3, lead=0.5))
    assert decision.adapt
    assert decision.verdicts["adapt"].rival == "lead"
    assert decision.answers is None


def test_a_stage_that_wins_stays_and_says_why() -> None:
    decision = decide(
        outcomes("me", 3, rag=0.5, rerank=0.6, adapt=0.7, **{"rerank_adapt": 0.8}),
        crowd(20, rag=0.5, rerank=0.6, adapt=0.7, **{"rerank_adapt": 0.8}),
    )
    assert decision.rerank
    assert decision.adapt
    assert decision.card["rerank"] is True
    adapt = decision.verdicts["adapt"]
    assert (adapt.code, adapt.method, adapt.baseline) == ("won", "rerank+adapt", "rerank")
    assert adapt.gain is not None
    assert (adapt.gain.own, adapt.gain.others) == (3, 80)
    card = json.loads(json.dumps(decision.card))
    assert card == decision.card
    read = Gate.of(card)
    assert read.quality == decision.quality
    assert replace(read.verdicts["adapt"], gain=None) == replace(adapt, gain=None)


def test_a_better_plain_prompt_takes_the_records_away() -> None:
    decision = decide([], crowd(20, rag=0.3, plain=0.6, adapt=0.5))
    assert (decision.records, decision.rerank, decision.adapt) == (False, False, False)
    assert decision.verdicts["records"].code == "harmful"
    assert decision.verdicts["adapt"].code == "unused"
    assert json.loads(json.dumps(decision.card)) == decision.card


def test_records_stay_where_the_plain_prompt_is_only_as_good() -> None:
    same = [Outcome(f"u{i}", {"rag": i % 2, "plain": i % 2}) for i in range(20)]
    level = decide([], same)
    assert level.records
    assert level.verdicts["records"].code == "level"
    assert decide([], crowd(20, rag=0.3, plain=0.5, adapt=0.6)).adapt
    assert decide([], crowd(20, rag=0.3)).records, "nothing to judge the records by"


def test_the_plain_prompt_is_compared_with_what_ask_would_give() -> None:
    ahead = decide([], crowd(20, rag=0.3, plain=0.5, rerank=0.6, adapt=0.2))
    assert ahead.rerank
    assert ahead.records
    assert ahead.verdicts["records"].method == "rerank"


def test_own_outcomes_are_not_counted_twice() -> None:
    own = outcomes("me", 5, adapt=0.9, rag=0.5)
    alone = gain_of(own, [], stage="adapt", baseline="rag")
    gain = decide(own, own).verdicts["adapt"].gain
    assert gain == alone


def test_what_nothing_could_judge_says_so_and_only_the_reranker_is_off() -> None:
    decision = decide([], [])
    assert (decision.records, decision.rerank, decision.adapt) == (True, False, True)
    assert {verdict.code for verdict in decision.verdicts.values()} == {"untested"}


def test_without_an_llm_the_adapter_is_judged_by_the_controls_alone() -> None:
    level = crowd(20, adapt0=0.5, knn=0.45)
    level = [Outcome(o.user, {**o.quality, "majority": o.quality["adapt0"]}) for o in level]
    assert decide([], level).adapt
    assert decide([], level).n is None, "whether answers help is open"
    behind = crowd(20, adapt0=0.3, majority=0.6, knn=0.4)
    assert not decide([], behind).adapt


def test_few_lucky_outcomes_are_no_certainty() -> None:
    lucky = [Outcome("me", {"adapt": 0.6, "rag": 0.5})] * 2
    assert gain_of(lucky, [], stage="adapt", baseline="rag").probability < 0.8


def test_small_gains_count_where_qualities_are_small() -> None:
    """Headlines scatter by a tenth, labels by a half: the same gain says more there."""

    def twenty(low: float, high: float) -> list[Outcome]:
        rag = [low if i % 2 else high for i in range(20)]
        return [Outcome(f"u{i}", {"rag": r, "adapt": r + 0.02}) for i, r in enumerate(rag)]

    narrow = gain_of([], twenty(0.05, 0.15), stage="adapt", baseline="rag")
    wide = gain_of([], twenty(0.0, 0.9), stage="adapt", baseline="rag")
    assert narrow.sd < wide.sd
    assert decide([], twenty(0.05, 0.15)).adapt


def test_a_card_of_the_first_release_still_decides_and_gives_its_figures() -> None:
    """Sentences were kept then, with the figures beside them."""
    figures = {"mean": -0.03, "sd": 0.02, "probability": 0.07, "own": 2, "others": 40}
    card = {
        "records": True,
        "rerank": False,
        "adapt": True,
        "records_reason": "",
        "rerank_reason": "reranker off: gain -0.030 ± 0.020 against rag",
        "adapt_reason": "adapter on, not judged: no answers",
        "gains": {"rerank": {"stage": "rerank", "over rag": figures}, "adapt": {}, "records": {}},
        "quality": {"own": {"rag": 0.5, "rerank": 0.4}, "others": {}},
        "lines": ["reranker off: ...", "adapter on, ..."],
    }
    gate = Gate.of(card)
    assert (gate.records, gate.rerank, gate.adapt) == (True, False, True)
    found = gate.verdicts["rerank"]
    assert (found.code, found.baseline, found.quality, found.without) == (
        "unproven", "rag", 0.4, 0.5,
    )  # fmt: skip
    assert found.gain is not None
    assert found.gain.probability == pytest.approx(0.0668, abs=1e-4)
    assert gate.verdicts["adapt"].code == "untested"
    assert Gate.of({}).adapt


def test_a_reranker_that_its_records_judged_reads_as_not_judged() -> None:
    """Earlier releases did that where no LLM was asked."""
    gain = Gain(0.05, 0.01, 8, 40)
    judged = Verdict(True, "won", "reranked", "records", gain, 0.5, 0.4)
    gate = Gate.of(Gate({**NOT_JUDGED, "rerank": judged}).card)
    assert gate.verdicts["rerank"] == NOT_JUDGED["rerank"]
    kept = Verdict(True, "won", "rerank", "rag", gain, 0.5, 0.4)
    assert Gate.of(Gate({**NOT_JUDGED, "rerank": kept}).card).rerank


def test_cards_from_before_the_adapter_alone_had_a_name_are_read() -> None:
    held_out = with_outcomes({}, "history", [Outcome("x", {"adapt": 0.5, "knn": 0.4})])
    assert kept_outcomes(held_out, "history") == (Outcome("x", {"adapt0": 0.5, "knn": 0.4}),)


def test_evidence_of_two_kinds_never_mixes() -> None:
    history = [Outcome("x", {"adapt0": 0.5, "knn": 0.4})]
    asked = [Outcome("x", {"adapt": 0.9, "rag": 0.4})]
    held_out = with_outcomes({}, "history", history)
    assert kept_outcomes(held_out, "some/llm") == ()
    held_out = with_outcomes(held_out, "some/llm", asked)
    assert kept_outcomes(held_out, "history") == tuple(history)
    assert kept_outcomes(held_out, "some/llm") == tuple(asked)
    assert kept_outcomes(held_out, "another/llm") == ()
