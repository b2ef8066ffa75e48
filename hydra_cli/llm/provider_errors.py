"""Foreign errors to one line with the likely cause and the remedy, in one place.

The text of a provider's error may quote the prompt or the key, so it is shown
only after ``safe_excerpt`` has looked at it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal

from hydra_cli.core.errors import HydraError, ProviderError
from hydra_cli.core.protocols import Message
from hydra_cli.llm.litellm_loading import load_litellm
from hydra_cli.llm.pricing import context_tokens, count_prompt_tokens
from hydra_cli.llm.providers import Endpoint, key_variables, nearest_models, served_models
from hydra_cli.llm.redaction import safe_excerpt

Kind = Literal[
    "key",
    "permission",
    "model",
    "context",
    "filter",
    "quota",
    "rate",
    "timeout",
    "connection",
    "server",
    "parameter",
    "request",
    "nonsense",
]
RETRYABLE: frozenset[Kind] = frozenset({"rate", "timeout", "connection", "server", "nonsense"})

_QUOTA = re.compile(
    r"insufficient[_ ]quota|exceeded your current quota|credit balance|billing|payment required",
    re.IGNORECASE,
)
_CONTEXT = re.compile(
    r"context[_ ](?:length|window|size)|maximum context|too many tokens|prompt is too long"
    r"|exceeds? the (?:available|maximum) (?:context|number of tokens)|input is too long",
    re.IGNORECASE,
)
_FILTER = re.compile(
    r"content[_ ](?:policy|filter|management)|safety system|flagged", re.IGNORECASE
)
_NO_MODEL = re.compile(
    r"model[^.]{0,80}(?:not found|does not exist|not exist|unknown|is not available)"
    r"|(?:unknown|invalid|no such) model|model_not_found",
    re.IGNORECASE,
)
_CONNECTION = re.compile(
    r"connection (?:error|refused|reset|aborted)|disconnected|cannot connect|connect call failed"
    r"|name or service not known|incomplete chunked read|peer closed|incompleteread",
    re.IGNORECASE,
)
_UNREADABLE = re.compile(
    r"expecting (?:value|property name|',')|unterminated string|invalid json|jsondecode"
    r"|unable to (?:get|parse) json|invalid response|extra data:|'choices' that is not a list",
    re.IGNORECASE,
)


class ProviderFailure(ProviderError):
    """A ProviderError whose kind says whether trying again may help.

    ``retry_after`` is the wait in seconds that the provider asked for;
    ``parameter`` the request parameter that it rejected.
    """

    def __init__(
        self,
        message: str,
        *,
        kind: Kind,
        hint: str | None = None,
        retry_after: float | None = None,
        parameter: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.kind = kind
        self.retry_after = retry_after
        self.parameter = parameter

    @property
    def retryable(self) -> bool:
        return self.kind in RETRYABLE

    @property
    def of_prompt(self) -> bool:
        return self.kind in ("filter", "context")


def foreign_errors() -> tuple[type[Exception], ...]:
    """What a litellm call may raise beside bugs of its own."""
    import httpx
    import openai

    exceptions = load_litellm().exceptions
    return (
        openai.OpenAIError,
        httpx.HTTPError,
        exceptions.BudgetExceededError,
        exceptions.ModelNotMappedError,
        exceptions.GuardrailRaisedException,
        exceptions.BlockedPiiEntityError,
        exceptions.ModifyResponseException,
        exceptions.SensitiveDataRouteException,
        OSError,
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        IndexError,
    )


def translate(
    error: Exception,
    endpoint: Endpoint,
    *,
    messages: Sequence[Message] = (),
    sent: Sequence[str] = (),
) -> HydraError:
    """The error as the user should read it. ``sent`` names the parameters of the request."""
    if own := _own_error(error):
        return own
    text = _message(str(getattr(error, "message", "") or error))
    parameter = _rejected_parameter(error, text, sent)
    kind: Kind = "parameter" if parameter else _kind(error, text)
    message, hint = _words(kind, endpoint, error)
    if kind == "context":
        message = f"{message} ({_size(endpoint, messages)})"
    if kind in ("request", "parameter", "server", "permission", "rate", "quota"):
        excerpt = safe_excerpt(text, messages)
        message = f"{message}: {excerpt}" if excerpt else message
    return ProviderFailure(
        message, kind=kind, hint=hint, retry_after=retry_after(error), parameter=parameter
    )


def _message(text: str) -> str:
    """The message in a body of OpenAI's error shape, which litellm may hand on whole."""
    start = text.find('{"error"')
    if start < 0:
        return text
    try:
        found = json.loads(text[start:])["error"]["message"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return text
    return found if isinstance(found, str) and found else text


def _own_error(error: BaseException) -> HydraError | None:
    """An embedded model's own error, which litellm wraps in one of its classes."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        if isinstance(current, HydraError) and not isinstance(current, ProviderFailure):
            return current
        seen.add(id(current))
        current = current.__cause__ or current.__context__
    return None


def _kind(error: Exception, text: str) -> Kind:
    by_class = _kind_of_class(error)
    if by_class == "server":
        by_class = _kind_of_status(error)
    if by_class in ("request", "server", "rate", "connection", "model", "permission"):
        # One class stands for several causes, and providers differ in their codes.
        if _QUOTA.search(text):
            return "quota"
        if by_class == "rate":
            return "rate"
        if _CONTEXT.search(text):
            return "context"
        if by_class == "request" and _FILTER.search(text):
            return "filter"
        if by_class == "request" and _NO_MODEL.search(text):
            return "model"
        if by_class in ("server", "connection"):
            if "api_key" in text and "must be set" in text:
                return "key"
            if _UNREADABLE.search(text):
                return "nonsense"
            if _CONNECTION.search(text):
                return "connection"
    return by_class


def _kind_of_class(error: Exception) -> Kind:
    """The kind by class, the narrow classes before those they derive from."""
    import httpx
    import openai

    e = load_litellm().exceptions
    table: tuple[tuple[tuple[type[BaseException], ...], Kind], ...] = (
        ((e.ContextWindowExceededError,), "context"),
        ((e.ContentPolicyViolationError, e.RejectedRequestError, e.ImageFetchError), "filter"),
        ((e.GuardrailRaisedException, e.BlockedPiiEntityError), "filter"),
        ((e.ModifyResponseException, e.SensitiveDataRouteException), "filter"),
        ((e.PaymentRequiredError, e.BudgetExceededError), "quota"),
        ((e.LiteLLMUnknownProvider, e.NotFoundError, openai.NotFoundError), "model"),
        ((e.AuthenticationError, openai.AuthenticationError), "key"),
        ((e.PermissionDeniedError, openai.PermissionDeniedError), "permission"),
        ((e.RateLimitError, openai.RateLimitError), "rate"),
        ((openai.APITimeoutError, httpx.TimeoutException, TimeoutError), "timeout"),
        ((openai.APIResponseValidationError,), "nonsense"),
        ((e.MidStreamFallbackError, e.ServiceUnavailableError, e.BadGatewayError), "server"),
        ((openai.InternalServerError,), "server"),
        ((openai.BadRequestError, openai.UnprocessableEntityError), "request"),
        ((openai.APIConnectionError, httpx.HTTPError, OSError), "connection"),
        ((openai.OpenAIError,), "server"),
        ((e.ModelNotMappedError,), "model"),
        ((ValueError, TypeError, KeyError, AttributeError, IndexError), "nonsense"),
    )
    return next((kind for classes, kind in table if isinstance(error, classes)), "server")


_KIND_OF_STATUS: dict[int, Kind] = {
    401: "key",
    402: "quota",
    403: "permission",
    404: "model",
    408: "timeout",
    409: "server",
    413: "context",
    425: "server",
    429: "rate",
}


def _kind_of_status(error: Exception) -> Kind:
    """litellm puts codes that have no class of their own into its general one."""
    status = getattr(error, "status_code", None)
    if not isinstance(status, int) or not 400 <= status < 500:
        return "server"
    return _KIND_OF_STATUS.get(status, "request")


def _rejected_parameter(error: Exception, text: str, sent: Sequence[str]) -> str | None:
    """The parameter that a 400 names; "n" is too short to be trusted without quotes."""
    if _kind_of_class(error) != "request" or _CONTEXT.search(text):
        return None
    body = getattr(error, "body", None)
    if isinstance(body, dict) and body.get("param") in sent:
        return str(body["param"])
    for name in sent:
        alone = re.escape(name)
        pattern = rf"['\"`]{alone}['\"`]" if len(name) < 3 else rf"(?<![\w-]){alone}(?![\w-])"
        if name == "n":
            pattern = rf"{pattern}|parameter:? n\b|\bn must|\bn is not|\bn > 1|\bn=\d"
        if re.search(pattern, text):
            return name
    return None


def _words(kind: Kind, endpoint: Endpoint, error: Exception) -> tuple[str, str | None]:
    """Message and hint, without a word of the provider's own."""
    model = endpoint.model
    where = endpoint.base or endpoint.provider
    if kind == "key":
        variables = " or ".join(key_variables(endpoint.provider))
        return f"{model}: {endpoint.provider} refused the API key", f"check {variables}"
    if kind == "permission":
        return f"{model}: the API key may not use this model", "check the key's rights and region"
    if kind == "model":
        served = served_models(endpoint)
        # Names of other providers' models help nobody at a server of one's own.
        close = nearest_models(model, served) if served or endpoint.base is None else []
        # A price list may know the very name that the provider doesn't serve (any more).
        close = [name for name in close if name.rpartition("/")[2] != model.rpartition("/")[2]]
        hint = f"did you mean {', '.join(close)}?" if close else None
        if not close and served:
            hint = f"it serves {', '.join(served[:5])}"
        return f"{where} has no model {model!r}", hint or "check the model's name"
    if kind == "context":
        return (
            f"{model}: the prompt doesn't fit the model's context window",
            "lower --k, shorten the query, or name a model with a larger context",
        )
    if kind == "filter":
        return f"{model}: the provider's content filter refused the prompt", "rephrase the query"
    if kind == "quota":
        return (
            f"{model}: the account's quota or credit is used up",
            "top the account up or use another --model; what was answered so far is kept",
        )
    if kind == "rate":
        return (
            f"{model}: the provider's rate limit holds on (429)",
            "lower the setting concurrency, or try later; what was answered so far is kept",
        )
    if kind == "timeout":
        return f"{model}: no answer in time from {where}", "raise the setting timeout, or try later"
    if kind == "connection":
        return f"{model}: can't reach {where}", "check that the server runs and the network is up"
    if kind in ("parameter", "request"):
        return f"{model}: the provider refused the request", None
    if kind == "nonsense":
        return (
            f"{model}: {where} sent an answer that can't be read",
            "check that the address is right and speaks the provider's protocol",
        )
    status = getattr(error, "status_code", None)
    code = f" ({status})" if isinstance(status, int) else ""
    return (
        f"{model}: the provider failed{code}",
        "try later; what was answered so far is kept",
    )


def _size(endpoint: Endpoint, messages: Sequence[Message]) -> str:
    """How long the prompt is, and how long it may be where that is known."""
    text = f"about {count_prompt_tokens(endpoint, messages):,} tokens"
    window = context_tokens(endpoint)
    return text if window is None else f"{text} of {window:,}"


def retry_after(error: Exception) -> float | None:
    """Seconds that the provider asked to wait (RFC 9110, 10.2.3: seconds or a date)."""
    headers: Any = None
    for holder in (getattr(error, "response", None), error):
        for name in ("headers", "litellm_response_headers"):
            found = getattr(holder, name, None)
            if found and ("retry-after" in found or "retry-after-ms" in found):
                headers = found
    if headers is None:
        return None
    if milliseconds := headers.get("retry-after-ms"):
        return _seconds(str(milliseconds), scale=0.001)
    return _seconds(str(headers.get("retry-after")))


def _seconds(value: str, scale: float = 1.0) -> float | None:
    try:
        seconds = float(value) * scale
    except ValueError:
        try:
            at = parsedate_to_datetime(value)
        except ValueError:
            return None
        if at.tzinfo is None:
            at = at.replace(tzinfo=UTC)
        seconds = (at - datetime.now(UTC)).total_seconds()
    return max(0.0, seconds) if seconds == seconds else None
