"""``POST /v1/embeddings``: vectors of the store's own encoder, nothing sent anywhere."""

from __future__ import annotations

import base64
from functools import partial
from typing import Any

import numpy as np
import orjson
from starlette.requests import Request
from starlette.responses import Response

from hydra_cli.serving import schemas
from hydra_cli.serving.endpoints import Endpoint, service_of
from hydra_cli.serving.errors import ApiError
from hydra_cli.serving.reading import field, read_object, wrong

MOST_TEXTS = 2048
_FIELDS = ("input", "model", "encoding_format", "dimensions", "user", "safety_identifier")
_AT_ONCE = 32
"""Texts after which other work gets its turn."""


async def embeddings(request: Request) -> Response:
    """Unit vectors. No tokens are counted: nobody is asked for them."""
    service = service_of(request)
    body = await read_object(request, _FIELDS)
    texts = _texts(body.get("input"))
    coded = field(body, "encoding_format", str) or "float"
    if coded not in ("float", "base64"):
        raise wrong("encoding_format", "must be float or base64")
    name = service.hydra.settings.encoder
    asked = field(body, "model", str)
    if asked not in (None, name, "hydra"):
        raise ApiError(404, f"the encoder is {name!r}", code="model_not_found", param="model")
    encoder = await service.in_thread(lambda: service.hydra.encoder)
    if field(body, "dimensions", int) not in (None, encoder.dimension):
        raise wrong("dimensions", f"can't be other than {encoder.dimension}")
    data: list[dict[str, Any]] = []
    for start in range(0, len(texts), _AT_ONCE):
        part = texts[start : start + _AT_ONCE]
        vectors = await service.in_thread(partial(encoder.encode, part))
        data += [
            {"object": "embedding", "index": start + i, "embedding": _coded(vector, coded)}
            for i, vector in enumerate(vectors)
        ]
    usage = {"prompt_tokens": 0, "total_tokens": 0}
    content = {"object": "list", "data": data, "model": name, "usage": usage}
    return Response(
        orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY), media_type=schemas.JSON
    )


def _texts(given: Any) -> list[str]:
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise wrong("input", "must be a text or a list of texts")
    if not texts or not all(texts):
        raise wrong("input", "is empty, or holds an empty text")
    if len(texts) > MOST_TEXTS:
        raise wrong("input", f"holds more than {MOST_TEXTS:,} texts")
    return texts


def _coded(vector: Any, coded: str) -> Any:
    """Base64 of little-endian float32, as OpenAI's clients ask for it."""
    if coded == "base64":
        return base64.b64encode(np.asarray(vector, dtype="<f4").tobytes()).decode()
    return np.ascontiguousarray(vector, dtype=np.float32)


ENDPOINTS = (
    Endpoint(
        method="POST",
        path="/v1/embeddings",
        handler=embeddings,
        summary="Unit vectors of texts, by the store's encoder.",
        bodies={
            schemas.JSON: schemas.object_of(
                input={
                    "oneOf": [
                        {"type": "string", "minLength": 1},
                        {
                            "type": "array",
                            "items": {"type": "string", "minLength": 1},
                            "minItems": 1,
                            "maxItems": MOST_TEXTS,
                        },
                    ]
                },
                model=schemas.TEXT,
                encoding_format={"enum": ["float", "base64"]},
                dimensions={"type": "integer"},
                required=("input",),
            )
        },
        answers={schemas.JSON: schemas.list_of({"type": "object"})},
    ),
)
