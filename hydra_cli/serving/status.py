"""What the server is: whether it is alive, and the models it answers as."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from hydra_cli import __version__
from hydra_cli.serving import schemas
from hydra_cli.serving.asker import Asker
from hydra_cli.serving.endpoints import Endpoint, service_of
from hydra_cli.serving.errors import ApiError
from hydra_cli.serving.metrics import CONTENT_TYPE
from hydra_cli.serving.openapi import document
from hydra_cli.serving.reading import trusted_alone
from hydra_cli.serving.service import Service

PERSONAL = "hydra/"
"""What the name of a personal model begins with; ``hydra/<model>@<task>``."""


async def healthz(request: Request) -> Response:
    """Nothing is opened or read: the answer says that the process answers."""
    return JSONResponse({"status": "ok", "version": __version__})


async def metrics(request: Request) -> Response:
    """Figures for Prometheus. They are about everybody, so a bound key doesn't see them."""
    trusted_alone(request)
    return Response(service_of(request).metrics.text(), media_type=CONTENT_TYPE)


async def openapi(request: Request) -> Response:
    """The routes, for those who generate clients."""
    return JSONResponse(document(request.app.state.endpoints))


async def models(request: Request) -> Response:
    """The model as it is, as a personal one, and that with each task."""
    service, asker = service_of(request), request.state.asker
    names = await service.in_thread(lambda: _names(service, asker))
    return JSONResponse({"object": "list", "data": [_model(service, name) for name in names]})


async def model(request: Request) -> Response:
    service, asker = service_of(request), request.state.asker
    name = request.path_params["model"]
    if name not in await service.in_thread(lambda: _names(service, asker)):
        raise ApiError(404, f"there is no model {name!r}", code="model_not_found", param="model")
    return JSONResponse(_model(service, name))


def _names(service: Service, asker: Asker) -> list[str]:
    """A bound asker hears of their own tasks alone."""
    hydra = service.hydra
    name = hydra.settings.model
    if asker.user is None:
        tasks = sorted(hydra.store.tasks())
    else:
        tasks = [task for task, _ in hydra.store.tasks_of(asker.user)]
    personal = f"{PERSONAL}{name}"
    return [personal, *(f"{personal}@{task}" for task in tasks), name]


def _model(service: Service, name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": service.started, "owned_by": "hydra-pers"}


ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/healthz",
        handler=healthz,
        summary="Whether the server is alive",
        open=True,
        answers={schemas.JSON: schemas.object_of(status=schemas.TEXT, version=schemas.TEXT)},
    ),
    Endpoint(
        method="GET",
        path="/metrics",
        handler=metrics,
        summary="Figures in the text form of Prometheus; for trusted keys.",
        answers={"text/plain": schemas.TEXT},
    ),
    Endpoint(
        method="GET",
        path="/openapi.json",
        handler=openapi,
        summary="This description.",
        answers={schemas.JSON: {"type": "object"}},
    ),
    Endpoint(
        method="GET",
        path="/v1/models",
        handler=models,
        summary="The model as it is, as a personal one, and that for each task.",
        answers={schemas.JSON: schemas.list_of(schemas.MODEL)},
    ),
    Endpoint(
        method="GET",
        path="/v1/models/{model:path}",
        handler=model,
        summary="One model.",
        answers={schemas.JSON: schemas.MODEL},
    ),
)
