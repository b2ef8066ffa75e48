"""Who may come in, from where, how often and with how much."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from hydra_cli import Hydra
from hydra_cli.serving.access import is_loopback
from hydra_cli.serving.app import build
from hydra_cli.serving.errors import ApiError
from hydra_cli.serving.limits import RateLimits
from hydra_cli.serving.service import ServeOptions, Service
from hydra_cli.store.api_keys import ApiKeys
from hydra_cli.store.folder import StoreFolder
from tests.serving.conftest import BASE, client_of

MODELS = "/v1/models"


@pytest.fixture
def keys(home: Path) -> ApiKeys:
    return ApiKeys(StoreFolder(home))


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


def code_of(answer: Any) -> tuple[int, str | None]:
    return answer.status_code, answer.json()["error"]["code"]


def test_without_keys_this_machine_alone_is_answered(service: Service, client: TestClient) -> None:
    assert client.get(MODELS).status_code == 200
    assert client.get(MODELS, headers=bearer("sk-any")).status_code == 200
    far = TestClient(build(service), base_url=BASE, client=("192.168.1.7", 1))
    assert code_of(far.get(MODELS)) == (401, "no_keys")
    told = {"X-Forwarded-For": "127.0.0.1", "Forwarded": "for=127.0.0.1"}
    assert code_of(far.get(MODELS, headers=told)) == (401, "no_keys")
    assert far.get("/healthz").status_code == 200
    for mark in ("X-Forwarded-For", "Forwarded", "Via", "X-Real-IP"):
        through = client.get(MODELS, headers={mark: "127.0.0.1"})
        assert code_of(through) == (401, "no_keys"), "everybody comes from a proxy's machine"


def test_a_key_is_asked_for_from_the_first_one_on_and_a_revoked_one_is_worthless(
    client: TestClient, keys: ApiKeys
) -> None:
    assert client.get(MODELS).status_code == 200
    key, text = keys.add(user="mia")
    assert code_of(client.get(MODELS)) == (401, "missing_api_key")
    assert client.get(MODELS).headers["www-authenticate"] == "Bearer"
    assert client.get("/healthz").status_code == 200
    for wrong in ("hp_x", key.id, key.digest, text.upper()):
        assert code_of(client.get(MODELS, headers=bearer(wrong))) == (401, "invalid_api_key")
    assert code_of(client.get(MODELS, headers={"Authorization": text})) == (401, "missing_api_key")
    assert client.get(MODELS, headers=bearer(text)).status_code == 200
    keys.revoke(key.id)
    assert code_of(client.get(MODELS, headers=bearer(text))) == (401, "invalid_api_key")
    assert code_of(client.get(MODELS)) == (401, "missing_api_key")


def test_a_key_file_that_vanishes_or_breaks_opens_no_door(
    client: TestClient, keys: ApiKeys, home: Path
) -> None:
    _, text = keys.add(user=None)
    assert client.get(MODELS, headers=bearer(text)).status_code == 200
    (home / "api_keys.json").write_bytes(b"{")
    assert client.get(MODELS, headers=bearer(text)).status_code == 500
    (home / "api_keys.json").unlink()
    assert code_of(client.get(MODELS, headers=bearer(text))) == (401, "invalid_api_key")


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1", "::1%lo"]
)
def test_loopback(address: str) -> None:
    assert is_loopback(address)


@pytest.mark.parametrize("address", ["10.0.0.1", "::", "0.0.0.0", "localhost", "", None, "::2"])
def test_not_loopback(address: str | None) -> None:
    assert not is_loopback(address)


@pytest.fixture
def known(hydra: Hydra) -> Iterator[TestClient]:
    """A server that one page may call, and that a proxy calls by a name."""
    options = ServeOptions(hosts=("hydra.example",), origins=("https://chat.example",))
    with client_of(Service(hydra, options)) as opened:
        yield opened


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:8642",
        "localhost",
        "LOCALHOST:1",
        "[::1]:8642",
        "hydra.example",
        "hydra.example:1",
    ],
)
def test_names_of_the_server(known: TestClient, host: str) -> None:
    assert known.get(MODELS, headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example:8642", "127.0.0.1.evil.example", "", "localhost@evil.example", "10.0.0.1"),
        *("evil.example#localhost", "localhost:1:2", "localhost:x", "xhydra.example", "[::1].evil"),
    ],
)
def test_a_foreign_name_that_leads_here_is_refused(known: TestClient, host: str) -> None:
    assert code_of(known.get(MODELS, headers={"Host": host})) == (403, "unknown_host")
    assert known.get("/healthz", headers={"Host": host}).status_code == 200


def test_at_every_address_any_address_is_a_name_and_no_foreign_name_is(hydra: Hydra) -> None:
    with client_of(Service(hydra, ServeOptions(host="0.0.0.0"))) as client:
        assert client.get(MODELS, headers={"Host": "192.168.1.7:8642"}).status_code == 200
        assert client.get(MODELS, headers={"Host": "evil.example"}).status_code == 403


@pytest.mark.parametrize("origin", [BASE, "https://127.0.0.1:8642", "https://chat.example"])
def test_pages_that_may_call(known: TestClient, origin: str) -> None:
    answer = known.get(MODELS, headers={"Origin": origin})
    assert answer.status_code == 200
    allowed = answer.headers.get("access-control-allow-origin")
    assert allowed == ("https://chat.example" if "chat" in origin else None)


FOREIGN = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:3000"},
    {"Origin": "http://localhost:8642"},
    {"Origin": "https://chat.example.evil.example"},
    {"Origin": "file://"},
    {"Origin": ""},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
    {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=lambda h: next(iter(h.values())) or "empty")
def test_a_foreign_page_reaches_nothing(known: TestClient, headers: dict[str, str]) -> None:
    for answer in (
        known.get(MODELS, headers=headers),
        # What a page may send without asking first.
        known.post(MODELS, headers={**headers, "Content-Type": "text/plain"}, content="{}"),
        known.options(MODELS, headers={**headers, "Access-Control-Request-Method": "POST"}),
    ):
        assert code_of(answer) == (403, "foreign_origin")
        assert "access-control-allow-origin" not in answer.headers


def test_a_link_leads_to_the_server(known: TestClient) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert known.get(MODELS, headers=headers).status_code == 200


def test_an_allowed_page_is_told_what_it_may_send(known: TestClient, keys: ApiKeys) -> None:
    keys.add(user="mia")
    asked = {
        "Origin": "https://chat.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    answer = known.options("/v1/chat/completions", headers=asked)
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == "https://chat.example"
    assert answer.headers["access-control-allow-headers"] == "authorization,content-type"
    refused = known.get(MODELS, headers={"Origin": "https://chat.example"})
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == "https://chat.example"


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; a=b", None]
)
def test_a_body_that_is_no_json_is_refused(client: TestClient, kind: str | None) -> None:
    headers = {"Content-Type": kind} if kind else {}
    answer = client.post(MODELS, content=b"{}", headers=headers)
    assert code_of(answer) == (415, "media_type")


def test_a_body_that_is_too_large_is_told_so() -> None:
    from hydra_cli.serving.limits import limited

    async def never() -> Any:
        raise AssertionError("read")

    for told in ("10000001", "9" * 5_000):
        with pytest.raises(ApiError) as refusal:
            limited(never, {"content-length": told}, 10_000_000)
        assert refusal.value.status == 413
    limited(never, {"content-length": "10000000"}, 10_000_000)


def test_requests_have_a_rate() -> None:
    now = 0.0
    rates = RateLimits(2, clock=lambda: now)
    assert rates.take("a")["x-ratelimit-remaining-requests"] == "1"
    assert rates.take("a")["x-ratelimit-remaining-requests"] == "0"
    with pytest.raises(ApiError) as refusal:
        rates.take("a")
    assert refusal.value.status == 429
    assert refusal.value.headers["retry-after"] == "30"
    assert rates.take("b")["x-ratelimit-limit-requests"] == "2"
    now = 29.0
    with pytest.raises(ApiError):
        rates.take("a")
    now = 30.0
    assert rates.take("a")["x-ratelimit-remaining-requests"] == "0"
    now = 10_000.0
    assert rates.take("a")["x-ratelimit-remaining-requests"] == "1"
    assert RateLimits(0).take("a") == {}


def test_each_key_has_its_own_rate(hydra: Hydra, keys: ApiKeys) -> None:
    (_, one), (_, two) = keys.add(user="mia"), keys.add(user="mia")
    with client_of(Service(hydra, ServeOptions(per_minute=1))) as client:
        first = client.get(MODELS, headers=bearer(one))
        assert first.headers["x-ratelimit-limit-requests"] == "1"
        again = client.get(MODELS, headers=bearer(one))
        assert code_of(again) == (429, "rate_limit_exceeded")
        assert int(again.headers["retry-after"]) >= 1
        assert client.get(MODELS, headers=bearer(two)).status_code == 200
        assert client.get("/healthz").status_code == 200


def test_nobody_keeps_what_was_personal(client: TestClient) -> None:
    for path in (MODELS, "/nothing"):
        headers = client.get(path).headers
        assert headers["cache-control"] == "private, no-store"
        assert headers["x-content-type-options"] == "nosniff"
