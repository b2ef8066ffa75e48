"""What tokens cost, and how many a text has. An unknown price is None, never 0."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from hydra_cli.core.protocols import Message
from hydra_cli.llm.litellm_loading import load_litellm
from hydra_cli.llm.providers import LOCAL, Endpoint

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def price(endpoint: Endpoint) -> tuple[float, float] | None:
    """US dollars for one (prompt, completion) token, or None where no table tells.

    Local models cost 0 because they are local. A table's 0 for a remote model
    is a gap, not a price.
    """
    if endpoint.local:
        return 0.0, 0.0
    entry = _table_entry(endpoint)
    if entry is None:
        return None
    prompt, completion = entry.get("input_cost_per_token"), entry.get("output_cost_per_token")
    if not prompt and not completion:
        return None
    return float(prompt or 0.0), float(completion or 0.0)


def cost(endpoint: Endpoint, prompt_tokens: int, completion_tokens: int) -> float | None:
    """US dollars of one call, or None where the price is unknown."""
    prices = price(endpoint)
    if prices is None:
        return None
    return prices[0] * prompt_tokens + prices[1] * completion_tokens


def context_tokens(endpoint: Endpoint) -> int | None:
    """The model's context window in tokens where a table tells it."""
    entry = None if endpoint.provider == LOCAL else _table_entry(endpoint)
    found = (entry or {}).get("max_input_tokens")
    return int(found) if found else None


def count_prompt_tokens(endpoint: Endpoint, messages: Sequence[Message]) -> int:
    """The prompt's length in tokens, chat format included, by the nearest tokenizer known.

    An embedded model's own tokenizer counts exactly.
    """
    return _count_chat(
        endpoint.model if endpoint.provider == LOCAL else _bare(endpoint),
        tuple((m["role"], m["content"]) for m in messages),
    )


@lru_cache(maxsize=4096)
def _count_chat(model: str, messages: tuple[tuple[str, str], ...]) -> int:
    listed = [{"role": role, "content": content} for role, content in messages]
    if model.startswith(f"{LOCAL}/") and (tokenizer := _local_tokenizer(model)):
        text = tokenizer.apply_chat_template(listed, add_generation_prompt=True, tokenize=False)
        return len(tokenizer(str(text), add_special_tokens=False)["input_ids"])
    return int(load_litellm().token_counter(model=model, messages=listed))


@lru_cache(maxsize=2)
def _local_tokenizer(model: str) -> PreTrainedTokenizerBase | None:
    """The tokenizer of an embedded model, without its weights; None where it isn't fetched yet."""
    from transformers import AutoTokenizer

    from hydra_cli.models.files import find_model

    folder = find_model(model.removeprefix(f"{LOCAL}/"))
    if folder is None:
        return None
    found: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
        folder.path, local_files_only=True
    )
    return found


def count_tokens(endpoint: Endpoint, text: str) -> int:
    """The length of a plain text in tokens."""
    if endpoint.provider == LOCAL and (tokenizer := _local_tokenizer(endpoint.model)):
        return len(tokenizer(text, add_special_tokens=False)["input_ids"])
    return int(load_litellm().token_counter(model=_bare(endpoint), text=text)) if text else 0


def supported_parameters(endpoint: Endpoint) -> frozenset[str]:
    """Request parameters that litellm passes on to the provider for this model."""
    known = load_litellm().get_supported_openai_params(
        model=_bare(endpoint), custom_llm_provider=endpoint.provider
    )
    return frozenset(known or ())


def _bare(endpoint: Endpoint) -> str:
    return endpoint.model.removeprefix(f"{endpoint.provider}/")


def _table_entry(endpoint: Endpoint) -> dict[str, Any] | None:
    table = load_litellm().model_cost
    bare = _bare(endpoint)
    for name in (endpoint.model, f"{endpoint.provider}/{bare}", bare):
        entry = table.get(name)
        if entry is not None and entry.get("litellm_provider", "").startswith(
            endpoint.provider.split("_")[0]
        ):
            return dict(entry)
    return None
