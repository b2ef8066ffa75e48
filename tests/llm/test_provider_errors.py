"""Every foreign error class maps to a kind, and every kind to words."""

from __future__ import annotations

import inspect
import string
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, get_args

import httpx
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_cli.core.errors import ModelError, ProviderError
from hydra_cli.core.protocols import Message
from hydra_cli.llm.litellm_loading import load_litellm
from hydra_cli.llm.provider_errors import (
    Kind,
    ProviderFailure,
    foreign_errors,
    retry_after,
    translate,
)
from hydra_cli.llm.providers import Endpoint
from hydra_cli.llm.redaction import safe_excerpt

litellm = load_litellm()
ENDPOINT = Endpoint("openai/gpt-4o-mini", "openai")

EXPECTED: dict[str, Kind] = {
    "AuthenticationError": "key",
    "NotFoundError": "model",
    "BadRequestError": "request",
    "ImageFetchError": "filter",
    "VectorStoreSearchError": "request",
    "UnprocessableEntityError": "request",
    "Timeout": "timeout",
    "PermissionDeniedError": "permission",
    "RateLimitError": "rate",
    "ContextWindowExceededError": "context",
    "PaymentRequiredError": "quota",
    "RejectedRequestError": "filter",
    "ContentPolicyViolationError": "filter",
    "ServiceUnavailableError": "server",
    "BadGatewayError": "server",
    "InternalServerError": "server",
    "APIError": "server",
    "APIConnectionError": "connection",
    "APIResponseValidationError": "nonsense",
    "JSONSchemaValidationError": "nonsense",
    "OpenAIError": "server",
    "UnsupportedParamsError": "request",
    "ModelNotMappedError": "model",
    "BudgetExceededError": "quota",
    "InvalidRequestError": "request",
    "MockException": "server",
    "LiteLLMUnknownProvider": "model",
    "GuardrailRaisedException": "filter",
    "BlockedPiiEntityError": "filter",
    "MidStreamFallbackError": "server",
    "ModifyResponseException": "filter",
    "SensitiveDataRouteException": "filter",
}


def made(cls: type[Exception]) -> Exception:
    """An instance, whatever its constructor wants."""
    request = httpx.Request("POST", "http://127.0.0.1")
    known: dict[str, Any] = {
        "message": "it went wrong",
        "model": "gpt-4o-mini",
        "llm_provider": "openai",
        "status_code": 500,
        "response": httpx.Response(500, request=request),
        "request": request,
        "request_data": {},
        "failures": (),
        "current_cost": 1.0,
        "max_budget": 1.0,
    }
    wanted = inspect.signature(cls.__init__).parameters
    given = {
        name: known.get(name, "x")
        for name, parameter in wanted.items()
        if name != "self"
        and parameter.default is inspect.Parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    }
    return cls(**given)


LITELLM_CLASSES = [
    cls
    for cls in list(vars(litellm.exceptions).values())
    if inspect.isclass(cls)
    and issubclass(cls, Exception)
    and cls.__module__ == "litellm.exceptions"
]


@pytest.mark.parametrize("cls", LITELLM_CLASSES, ids=lambda cls: cls.__name__)
def test_every_litellm_class_is_caught_and_mapped(cls: type[Exception]) -> None:
    """A class that a new litellm adds fails here until someone says what it means."""
    error = made(cls)
    assert isinstance(error, foreign_errors())
    told = translate(error, ENDPOINT)
    assert isinstance(told, ProviderFailure)
    assert told.kind == EXPECTED[cls.__name__]
    assert told.message.startswith(("openai/gpt-4o-mini", "openai has no model"))


OPENAI_CLASSES = [
    cls
    for cls in list(vars(openai).values())
    if inspect.isclass(cls) and issubclass(cls, openai.OpenAIError)
]


@pytest.mark.parametrize("cls", OPENAI_CLASSES, ids=lambda cls: cls.__name__)
def test_every_openai_class_is_caught(cls: type[Exception]) -> None:
    assert issubclass(cls, foreign_errors())


def test_every_kind_has_words() -> None:
    from hydra_cli.llm.provider_errors import _words

    for kind in get_args(Kind):
        message, _ = _words(kind, ENDPOINT, Exception())
        assert "openai" in message


def test_an_embedded_model_s_own_error_comes_through() -> None:
    try:
        try:
            raise ModelError("weights are damaged", hint="fetch them again")
        except ModelError:
            raise made(litellm.exceptions.APIConnectionError) from None
    except litellm.exceptions.APIConnectionError as error:
        told = translate(error, Endpoint("local/x", "local"))
    assert isinstance(told, ModelError)
    assert told.message == "weights are damaged"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"Retry-After": "-3"}, 0.0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": ""}, None),
        ({}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    request = httpx.Request("POST", "http://127.0.0.1")
    response = httpx.Response(429, headers=headers, request=request)
    assert retry_after(openai.RateLimitError("slow", response=response, body=None)) == seconds


def test_retry_after_as_a_date() -> None:
    at = datetime.now(UTC) + timedelta(seconds=30)
    request = httpx.Request("POST", "http://127.0.0.1")
    response = httpx.Response(
        429, headers={"Retry-After": format_datetime(at, usegmt=True)}, request=request
    )
    found = retry_after(openai.RateLimitError("slow", response=response, body=None))
    assert found == pytest.approx(30, abs=2)


PRINTABLE = st.text(string.ascii_letters + string.digits + " .,'", min_size=24, max_size=80)


@given(prompt=PRINTABLE.filter(lambda text: len(" ".join(text.split())) >= 24), around=PRINTABLE)
def test_an_excerpt_never_quotes_a_prompt(prompt: str, around: str) -> None:
    messages: list[Message] = [{"role": "user", "content": prompt}]
    shown = safe_excerpt(f"{around} {prompt} {around}", messages, limit=10_000)
    assert " ".join(prompt.split()) not in shown


@pytest.mark.parametrize(
    "secret",
    [
        "sk-proj-abcDEF123456",
        "Bearer eyJhbGciOi.J9",
        "AIzaSyA1234567890abcdef",
        "gsk_1234567890abcdef",
        "0123456789abcdef0123456789abcdef",
    ],
)
def test_an_excerpt_shows_no_key(secret: str) -> None:
    shown = safe_excerpt(f"Incorrect API key provided: {secret}. See your account.")
    assert secret.split()[-1] not in shown
    assert "Incorrect API key provided" in shown


def test_an_excerpt_shows_no_key_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACME_API_KEY", "opensesame")
    assert "opensesame" not in safe_excerpt("bad key opensesame here")


def test_class_names_are_left_out() -> None:
    text = "litellm.InternalServerError: InternalServerError: OpenAIException - it broke"
    assert safe_excerpt(text) == "it broke"
    assert isinstance(translate(ValueError("odd"), ENDPOINT), ProviderError)
