"""Which provider a model name means, where it runs, and whether it may be used."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from hydra_cli.core.errors import ProviderError, UsageError
from hydra_cli.llm.litellm_loading import load_litellm

LOCAL = "local"
"""The provider name of the embedded models."""
OWN_SECONDS = "own_seconds"
"""Where a response of theirs says how long it took, others of the same batch left out."""

_ON_THIS_MACHINE = {
    "ollama": "http://localhost:11434",
    "ollama_chat": "http://localhost:11434",
    "lm_studio": "http://localhost:1234/v1",
    "llamafile": "http://127.0.0.1:8080/v1",
    "docker_model_runner": "http://localhost:22088/engines/llama.cpp/v1",
}
"""Where providers listen whose server runs on the user's own machine by default."""

KEYS: dict[str, tuple[str, ...]] = {
    "anthropic": ("ANTHROPIC_API_KEY",),
    "cerebras": ("CEREBRAS_API_KEY",),
    "cohere": ("COHERE_API_KEY",),
    "deepseek": ("DEEPSEEK_API_KEY",),
    "fireworks_ai": ("FIREWORKS_AI_API_KEY",),
    "groq": ("GROQ_API_KEY",),
    "hosted_vllm": (),
    "llamafile": (),
    "lm_studio": (),
    "mistral": ("MISTRAL_API_KEY",),
    "ollama": (),
    "ollama_chat": (),
    "openai": ("OPENAI_API_KEY",),
    "openrouter": ("OPENROUTER_API_KEY",),
    "perplexity": ("PERPLEXITYAI_API_KEY",),
    "together_ai": ("TOGETHERAI_API_KEY",),
    "xai": ("XAI_API_KEY",),
}
"""Providers of which a model's name tells all, and their keys' variables.

litellm says the same of them, and takes two seconds to import; a test compares.
"""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A model at its provider. ``base`` is None for the provider's own address."""

    model: str
    provider: str
    base: str | None = None

    @property
    def local(self) -> bool:
        """True where the prompt doesn't leave this machine."""
        return self.provider == LOCAL or (self.base is not None and is_loopback(self.base))

    @property
    def identity(self) -> str:
        """What tells answers of one model from another's of the same name."""
        return self.model if self.base is None else f"{self.model}@{self.base}"


def resolve(model: str) -> Endpoint:
    """The endpoint of a model name; ProviderError with the nearest names where it means none."""
    if not model.strip():
        raise UsageError("the model name is empty", hint="such as openai/gpt-4o-mini")
    if model.startswith(f"{LOCAL}/"):
        return Endpoint(model, LOCAL)
    prefix, slash, rest = model.partition("/")
    if prefix in KEYS and slash:
        if not rest.strip():
            raise unknown_model(model)
        return Endpoint(model, prefix, _base_from_environment(prefix))
    litellm = load_litellm()
    try:
        _, provider, _, base = litellm.get_llm_provider(model=model)
    except litellm.exceptions.BadRequestError:
        raise unknown_model(model) from None
    # Some providers' own public address comes back as a base: only what the
    # user or the provider's nature sets apart counts.
    return Endpoint(model, provider, _base_from_environment(provider) or _local_base(base))


def check_allowed(endpoint: Endpoint, allowed: Sequence[str]) -> None:
    """Refuse a provider that the store isn't pinned to. An empty list allows all."""
    if allowed and endpoint.provider not in allowed:
        raise ProviderError(
            f"{endpoint.model}: provider {endpoint.provider!r} is not allowed for this store",
            hint=f"allowed: {', '.join(allowed)}; change it with `hydra-pers config set providers`",
        )


def check_key(endpoint: Endpoint) -> None:
    """ProviderError naming the variable, where the provider's key isn't in the environment."""
    if endpoint.local:
        return
    if missing := missing_variables(endpoint):
        raise missing_key(endpoint, missing)


def missing_variables(endpoint: Endpoint) -> list[str]:
    """The key's variables that aren't in the environment."""
    if endpoint.provider in KEYS:
        return [name for name in KEYS[endpoint.provider] if not os.environ.get(name)]
    found = load_litellm().validate_environment(model=endpoint.model)["missing_keys"]
    return [str(name) for name in found]


def missing_key(endpoint: Endpoint, variables: Sequence[str]) -> ProviderError:
    return ProviderError(
        f"{endpoint.model}: no API key for {endpoint.provider}",
        hint=f"export {' and '.join(variables)}, or use a local model (--model local/...)",
    )


def key_variables(provider: str) -> tuple[str, ...]:
    """The environment variables that may hold the provider's key."""
    missing = load_litellm().validate_environment(model=f"{provider}/any")["missing_keys"]
    return tuple(missing) or (f"{provider.upper()}_API_KEY",)


def unknown_model(model: str) -> ProviderError:
    close = nearest_models(model)
    hint = f"did you mean {', '.join(close)}?" if close else None
    return ProviderError(
        f"no provider knows the model {model!r}",
        hint=hint or "write provider/model, such as openai/gpt-4o-mini or ollama/llama3.2",
    )


def nearest_models(model: str, served: Sequence[str] = (), *, count: int = 3) -> list[str]:
    """The closest of ``served``; without any, of the chat models that litellm knows."""
    pool = {name: name for name in served}
    if not served:
        for name, entry in load_litellm().model_cost.items():
            if entry.get("mode") == "chat":
                provider = entry.get("litellm_provider", "")
                full = name if name.startswith(f"{provider}/") else f"{provider}/{name}"
                pool[name] = pool[full] = full
    found = difflib.get_close_matches(model, pool, n=count * 4, cutoff=0.6)
    return list(dict.fromkeys(pool[name] for name in found))[:count]


def served_models(endpoint: Endpoint) -> list[str]:
    """What a server of the user's own says it serves; empty where it doesn't say."""
    if endpoint.base is None:
        return []
    import httpx

    try:
        answer = httpx.get(f"{endpoint.base}/models", timeout=3.0).raise_for_status().json()
        names = [str(entry["id"]) for entry in answer["data"]]
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return []
    return [f"{endpoint.provider}/{name}" for name in names]


def is_loopback(base: str) -> bool:
    """True for an address that can only be this machine."""
    host = urlsplit(base if "://" in base else f"http://{base}").hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _base_from_environment(provider: str) -> str | None:
    stem = provider.upper()
    for name in (f"{stem}_API_BASE", f"{stem}_BASE_URL"):
        if value := os.environ.get(name):
            return value.rstrip("/")
    return _ON_THIS_MACHINE.get(provider)


def _local_base(base: str | None) -> str | None:
    return base.rstrip("/") if base is not None and is_loopback(base) else None
