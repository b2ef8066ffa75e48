"""The part of ``Hydra`` that keeps answers, and hears what people say of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hydra_cli.core.feedback import Given
from hydra_cli.warm import Warm

if TYPE_CHECKING:
    from hydra_cli.core.feedback import Feedback, KeptAnswer
    from hydra_cli.core.records import Answer
    from hydra_cli.workflows.stats import Fared


class Answered(Warm):
    """Kept answers, feedback on them, and how they fared."""

    def keep(self, answer: Answer) -> bool:
        """Keep an answer of ``draft`` and an LLM of your own; ``ask`` keeps its answers itself.

        False where the settings keep none (``answers_days`` is 0), its user was forgotten
        meanwhile, or it can't be written, which a note says.
        """
        return self._keep(answer, self.settings)

    def answer(self, answer_id: str, *, user: str | None = None) -> KeptAnswer:
        """A kept answer, "last" being the newest; NotFound for another user's and for no one's."""
        from hydra_cli.workflows.keeping import kept_answer

        return kept_answer(self.store, answer_id, user)

    def answers(
        self, user: str | None = None, *, task: str | None = None, limit: int | None = 20
    ) -> list[KeptAnswer]:
        """The newest kept answers of a user, or of everyone, newest first."""
        return self.store.answer_log.newest(user, task=task, limit=limit)

    def feedback(
        self,
        answer_id: str,
        *,
        accept: bool = False,
        reject: bool = False,
        choose: int | None = None,
        edit: str | None = None,
        user: str | None = None,
    ) -> Given:
        """Say one thing about a kept answer ("last": the newest); the next answers heed it.

        ``choose`` counts candidates from 1, best first. An edit becomes a record, as
        an accepted answer does where the setting ``accepted_records`` says so. A second
        word on an answer replaces the first. No LLM is asked. With ``user``, only
        their answers can be named: NotFound else, as for an id that nobody has.
        """
        from hydra_cli.workflows import feedback

        answer = self.answer(answer_id, user=user)
        said, replaced = feedback.give(
            self.store,
            answer,
            self.settings.spec(answer.task),
            accept=accept,
            reject=reject,
            choose=choose,
            edit=edit,
            accepted_records=self.settings.accepted_records,
        )
        return Given(said, replaced, feedback.teaches(said) or feedback.teaches(replaced))

    def undo_feedback(self, answer_id: str, *, user: str | None = None) -> Given:
        """Take back the last word on an answer: all is as it was before, to the last bit."""
        from hydra_cli.workflows import feedback

        said, again = feedback.take_back(self.store, answer_id, user)
        return Given(said, again, feedback.teaches(said) or feedback.teaches(again))

    def feedbacks(
        self, user: str | None = None, *, task: str | None = None, limit: int | None = None
    ) -> list[Feedback]:
        """The feedback in effect, of a user or of everyone, on the newest answers first."""
        return self.store.answer_log.feedback(user, task=task, limit=limit)

    def stats(self, user: str | None = None) -> list[Fared]:
        """How each user's answers fared, or one user's week by week."""
        from hydra_cli.workflows.stats import stats

        return stats(self.store, user)
