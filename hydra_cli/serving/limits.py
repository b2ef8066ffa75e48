"""How much one asker may send: requests a minute, and bytes of a body."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from starlette.types import Message, Receive

from hydra_cli.serving.errors import ApiError


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


class RateLimits:
    """A bucket a key: ``per_minute`` requests at once, and as many again in each minute."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._size = per_minute
        self._clock = clock
        self._buckets: dict[str | None, _Bucket] = {}

    def take(self, key: str | None) -> dict[str, str]:
        """Count one request; the headers that tell what is left. ApiError 429."""
        if not self._size:
            return {}
        now = self._clock()
        bucket = self._buckets.setdefault(key, _Bucket(self._size, now))
        rate = self._size / 60.0
        bucket.tokens = min(self._size, bucket.tokens + (now - bucket.at) * rate)
        bucket.at = now
        wait = (1.0 - bucket.tokens) / rate
        if wait > 0:
            raise ApiError(
                429,
                f"more than {self._size:,} requests a minute",
                code="rate_limit_exceeded",
                headers={"retry-after": str(-int(-wait // 1)), **self._told(bucket)},
            )
        bucket.tokens -= 1.0
        return self._told(bucket)

    def _told(self, bucket: _Bucket) -> dict[str, str]:
        full_in = (self._size - bucket.tokens) * 60.0 / self._size
        return {
            "x-ratelimit-limit-requests": str(self._size),
            "x-ratelimit-remaining-requests": str(int(bucket.tokens)),
            "x-ratelimit-reset-requests": f"{full_in:.1f}s",
        }


def limited(receive: Receive, headers: Mapping[str, str], most: int) -> Receive:
    """``receive`` that ends with ApiError 413 at the first byte too many, or before any."""
    told = headers.get("content-length", "")
    # Beyond 18 digits nobody means it; int() of thousands of them would take its time.
    if told.isdecimal() and (len(told) > 18 or int(told) > most):
        raise _too_large(most)
    got = 0

    async def counting() -> Message:
        nonlocal got
        message = await receive()
        got += len(message.get("body", b""))
        if got > most:
            raise _too_large(most)
        return message

    return counting


def _too_large(most: int) -> ApiError:
    return ApiError(
        413, f"the body is larger than {most:,} bytes; send it in parts", code="body_too_large"
    )
