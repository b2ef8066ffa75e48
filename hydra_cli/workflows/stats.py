"""How answers fared with the people who got them: accepted, changed, rejected, over time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from hydra_cli.core.feedback import Feedback
from hydra_cli.workflows.choosing import unknown_user

if TYPE_CHECKING:
    from hydra_cli.store.contract import Store


@dataclass(frozen=True, slots=True)
class Fared:
    """Answers of one user, or of one week, and what was said of them.

    ``words`` are those of shown texts whose user kept something, ``changed`` how many of
    them were changed on the way: nothing of an accepted answer, all that an edit touched.
    """

    name: str
    answers: int
    accepted: int = 0
    chosen: int = 0
    edited: int = 0
    rejected: int = 0
    changed: int = 0
    words: int = 0

    @property
    def heard(self) -> int:
        """Answers with feedback."""
        return self.accepted + self.chosen + self.edited + self.rejected

    @property
    def acceptance(self) -> float | None:
        """The share of them that was kept as shown; None where nothing was said."""
        return self.accepted / self.heard if self.heard else None

    @property
    def change(self) -> float | None:
        """Words changed for each word shown; None where nobody kept anything."""
        return self.changed / self.words if self.words else None

    def as_mapping(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            **asdict(self),
            "heard": self.heard,
            "acceptance": self.acceptance,
            "change": self.change,
        }


def stats(store: Store, user: str | None = None) -> list[Fared]:
    """Each user's answers, or of one user each week's, those that are kept or were talked about.

    Weeks are named by their Monday, in UTC, the oldest first. NotFound for a user of
    whom nothing is known.
    """
    answers = {a.id: (a.user, a.time) for a in store.answer_log.newest(user)}
    said = {f.answer: f for f in store.answer_log.feedback(user)}
    answers |= {id_: (f.user, f.asked) for id_, f in said.items()}
    if user is not None and not answers and not store.tasks_of(user):
        raise unknown_user(store, user)
    groups: dict[str, dict[str, Feedback | None]] = {}
    for id_, (whose, time) in answers.items():
        name = whose if user is None else _week(time)
        groups.setdefault(name, {})[id_] = said.get(id_)
    return [_fared(name, groups[name]) for name in sorted(groups)]


def _week(time: datetime) -> str:
    year, week, _ = time.astimezone(UTC).isocalendar()
    return datetime.fromisocalendar(year, week, 1).date().isoformat()


def _fared(name: str, said: Mapping[str, Feedback | None]) -> Fared:
    words = [one for one in said.values() if one is not None]
    kept = [one for one in words if one.distance is not None]
    as_shown = [one for one in kept if one.distance == 0]
    return Fared(
        name=name,
        answers=len(said),
        # An edit that changes nothing, or the choice of what was shown, is an acceptance.
        accepted=len(as_shown),
        chosen=_count(kept, "choose"),
        edited=_count(kept, "edit"),
        rejected=_count(words, "reject"),
        changed=sum(one.distance or 0 for one in kept),
        words=sum(one.words for one in kept),
    )


def _count(words: Iterable[Feedback], kind: str) -> int:
    return sum(one.kind == kind and one.distance != 0 for one in words)
