"""Personalize any black-box LLM for one user at a time.

Nothing heavy is imported here: torch, transformers, lancedb and litellm load
only when they are needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hydra_cli.core.errors import (
    BudgetExceeded,
    DataError,
    HydraError,
    Incomplete,
    ModelError,
    NotFound,
    ProviderError,
    StoreBusy,
    StoreError,
    StoreVersion,
    UsageError,
)
from hydra_cli.core.records import Answer, Candidate, Record, Scored, Usage

if TYPE_CHECKING:
    from hydra_cli.api import Hydra

__version__ = "0.2.0"

__all__ = [
    "Answer",
    "BudgetExceeded",
    "Candidate",
    "DataError",
    "Hydra",
    "HydraError",
    "Incomplete",
    "ModelError",
    "NotFound",
    "ProviderError",
    "Record",
    "Scored",
    "StoreBusy",
    "StoreError",
    "StoreVersion",
    "Usage",
    "UsageError",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name == "Hydra":
        from hydra_cli.api import Hydra

        return Hydra
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
