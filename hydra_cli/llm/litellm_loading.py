"""litellm, imported once, late and quiet: no network, no .env file, no callbacks."""

from __future__ import annotations

import gc
import logging
import os
import threading
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

_lock = threading.Lock()
_module: Any = None
_adopted = False
_OF_THE_SDK = (
    *("OPENAI_ORGANIZATION", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"),
    "OPENAI_CUSTOM_HEADERS",
)


def load_litellm() -> Any:
    """The litellm module (about 2 s the first time).

    Importing it would otherwise fetch a price list over the network and read
    a ``.env`` file of the working folder.
    """
    global _module
    with _lock:
        if _module is None:
            os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
            os.environ["LITELLM_MODE"] = "PRODUCTION"
            choose_client(os.environ)
            with _no_collection():
                import litellm

            _quieten(litellm)
            _module = litellm
    return _module


def choose_client(environment: MutableMapping[str, str]) -> None:
    """OpenAI's protocol by litellm's own client, unless the environment says something of it.

    That takes half of the processor's time that it takes through OpenAI's SDK, which
    alone knows organizations, projects and headers of the user's own.
    """
    if not any(environment.get(name) for name in _OF_THE_SDK):
        environment.setdefault("EXPERIMENTAL_OPENAI_BASE_LLM_HTTP_HANDLER", "True")


def adopt_litellm(module: Any) -> None:
    """Use the litellm of a program that has it already, and leave it as it stands there.

    What such a program logs and whom it calls back is its own business.
    """
    global _module, _adopted
    with _lock:
        if _module is None:
            _module, _adopted = module, True


def unlogged() -> dict[str, bool]:
    """Arguments of our calls in such a program: it hears of its own call, not of those within."""
    return {"no-log": True} if _adopted else {}


@contextmanager
def _no_collection() -> Iterator[None]:
    """Importing makes objects that stay: looking for garbage among them takes a tenth of it."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _quieten(litellm: Any) -> None:
    """Nothing of a prompt may reach a log, a callback or the terminal."""
    litellm.telemetry = False
    litellm.suppress_debug_info = True
    litellm.set_verbose = False
    litellm.turn_off_message_logging = True
    litellm.redact_messages_in_exceptions = True
    litellm.drop_params = False
    litellm.num_retries = None
    # Counting tokens must never download a tokenizer.
    litellm.disable_hf_tokenizer_download = True
    for name in ("callbacks", "success_callback", "failure_callback", "input_callback"):
        setattr(litellm, name, [])
    # openai logs whole requests at debug level.
    for name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy", "openai"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.CRITICAL + 1)
        logger.propagate = False
