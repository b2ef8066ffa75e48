"""Whose answer a request gets. It is decided here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hydra_cli.core.errors import HydraError, NotFound, UsageError
from hydra_cli.serving.asker import USER_HEADER, Asker
from hydra_cli.serving.service import Service
from hydra_cli.workflows.choosing import choose_task, choose_user

_HOW = f"send the header {USER_HEADER}, or the field user"


@dataclass(frozen=True, slots=True)
class Whose:
    """A user and their task; or why there is none, and the LLM answers as it is."""

    user: str | None = None
    task: str | None = None
    why_not: str | None = None


def whose(
    service: Service,
    asker: Asker,
    headers: Mapping[str, str],
    body: Mapping[str, Any],
    task: str | None,
) -> Whose:
    """The user that the key is bound to or that the request names, with their task.

    On loopback without keys a request that names nobody is the user's that the command
    line would take. ApiError 403 for another user's key; NotFound for a task that
    the user doesn't have, and for an unknown user where the server refuses them.
    """
    named = asker.user_of(headers, body)
    store, settings = service.hydra.store, service.hydra.settings
    if named is not None:
        if not store.tasks_of(named):
            return _nobody(service, NotFound("no records of this user"), "unknown user")
        user = named
    elif asker.key is not None:  # an application that serves many must say whom
        return _nobody(service, UsageError("no user was named", hint=_HOW))
    else:
        try:
            user = choose_user(store, settings.user)
        except UsageError:
            return _nobody(service, UsageError("no user was named", hint=_HOW))
        except NotFound as error:
            return _nobody(service, error)
    return Whose(user, choose_task(store, user, task))


def _nobody(service: Service, error: HydraError, why_not: str | None = None) -> Whose:
    if service.options.unknown == "refuse":
        raise error
    return Whose(why_not=why_not or error.message)
