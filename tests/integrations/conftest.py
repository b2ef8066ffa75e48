"""litellm as hydra-pers loads it, before the handler would take it over as it is."""

from __future__ import annotations

from hydra_cli.llm.litellm_loading import load_litellm

load_litellm()
