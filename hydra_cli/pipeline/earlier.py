"""What an LLM's answers told in an earlier fit, for a fit that asks none.

Judging by the records alone can't see what the LLM showed: a stage that its
answers switched off would come back as "on, untested". So its outcomes stay the
evidence for as long as base and features are of the same kind, also for a base
that was trained anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from hydra_cli.core.weights import Weights
from hydra_cli.modeling.gate import Outcome, kept_outcomes, pseudonym

HISTORY = "history"
"""The evidence of a gate that asked no LLM; otherwise it is the LLM's name."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """``evidence`` is the LLM's name; ``base`` and ``heads`` are those that it judged."""

    evidence: str
    base: Weights
    heads: Mapping[str, Weights]

    def others(self, base: Weights, users: Iterable[str]) -> list[Outcome]:
        """The outcomes of the users that are still there, under their names for ``base``."""
        names = {
            pseudonym(self.base.fingerprint, user): pseudonym(base.fingerprint, user)
            for user in users
        }
        found = kept_outcomes(self.base.card.held_out, self.evidence)
        return [replace(one, user=names[one.user]) for one in found if one.user in names]

    def own(self, user: str, others: Iterable[Outcome], name: str) -> list[Outcome]:
        """The user's: what their head was judged by, else what the base was."""
        head = self.heads.get(user)
        if (
            head is not None
            and head.card.gate.get("evidence") == self.evidence
            and head.card.base == self.base.fingerprint
        ):
            return [Outcome(name, quality) for quality in head.card.held_out.get("outcomes", ())]
        return [outcome for outcome in others if outcome.user == name]


def judge_of(base: Weights) -> str:
    """The LLM whose answers judged the base; empty where none did, or its outcomes are lost."""
    name: str = base.card.gate.get("evidence", "")
    return name if name != HISTORY and kept_outcomes(base.card.held_out, name) else ""


def same_kind(new: Weights, old: Weights) -> bool:
    """Whether two bases score by the same features of the same vectors."""
    features = [base.card.settings.get("features") for base in (new, old)]
    return new.card.encoder == old.card.encoder and features[0] == features[1]
