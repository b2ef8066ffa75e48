"""Every error a user may see, with its exit code.

::

    HydraError            1  anything below, or an internal failure
    ├── UsageError        2  an option or argument that makes no sense
    ├── DataError         3  a file or record that can't be read or used
    ├── StoreError        4  the store is damaged, read-only, full or unreadable
    │   ├── StoreBusy     4  another process holds the store for too long
    │   └── StoreVersion  4  the store was written by a newer release
    ├── NotFound          5  no such user, record, task, method or model
    ├── ModelError        6  model files, a base or a head that can't be used
    ├── ProviderError     7  the LLM provider refused, failed or answered nonsense
    ├── BudgetExceeded    8  a limit given by the user was reached
    └── Incomplete        9  part of the input could not be used; the rest is done

Ctrl-C exits with 130, as shells expect.
"""

from __future__ import annotations


class HydraError(Exception):
    """One clear line for the user, and a hint that says what to do about it."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(HydraError):
    exit_code = 2


class DataError(HydraError):
    exit_code = 3


class StoreError(HydraError):
    exit_code = 4


class StoreBusy(StoreError):
    pass


class StoreVersion(StoreError):
    pass


class NotFound(HydraError):
    exit_code = 5


class ModelError(HydraError):
    exit_code = 6


class ProviderError(HydraError):
    exit_code = 7

    @property
    def of_prompt(self) -> bool:
        """Whether this one prompt is the cause, so that others may well be answered."""
        return False


class PromptTooLong(ProviderError):
    """The embedded LLM's own word for a prompt that its context can't hold."""

    kind = "context"

    @property
    def of_prompt(self) -> bool:
        return True


class NotAnswered(ProviderError):
    """Requests that were written down instead of asked. No user sees it: commands end well."""


class BudgetExceeded(HydraError):
    exit_code = 8


class Incomplete(HydraError):
    exit_code = 9
