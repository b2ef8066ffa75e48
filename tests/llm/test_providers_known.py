"""What is known of providers without litellm, against what litellm says."""

from __future__ import annotations

import pytest

from hydra_cli.core.errors import ProviderError
from hydra_cli.llm.litellm_loading import load_litellm
from hydra_cli.llm.providers import KEYS, Endpoint, check_key, is_loopback, resolve

litellm = load_litellm()


@pytest.mark.parametrize("provider", sorted(KEYS))
def test_a_prefix_means_what_litellm_says(provider: str) -> None:
    model = f"{provider}/some-model"
    _, named, _, base = litellm.get_llm_provider(model=model)
    found = resolve(model)
    assert (found.model, found.provider) == (model, named)
    if base is not None and is_loopback(base):
        assert found.base is not None


@pytest.mark.parametrize("provider", sorted(name for name, keys in KEYS.items() if keys))
def test_keys_are_those_that_litellm_wants(provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = Endpoint(f"{provider}/some-model", provider)
    missing = litellm.validate_environment(model=endpoint.model)["missing_keys"]
    assert tuple(missing) == KEYS[provider]
    with pytest.raises(ProviderError, match="no API key"):
        check_key(endpoint)
    for name in KEYS[provider]:
        monkeypatch.setenv(name, "x")
    check_key(endpoint)
    assert not litellm.validate_environment(model=endpoint.model)["missing_keys"]


@pytest.mark.parametrize("model", ["openai/", "openai/ ", "openai"])
def test_a_provider_alone_is_no_model(model: str) -> None:
    with pytest.raises(ProviderError):
        resolve(model)
