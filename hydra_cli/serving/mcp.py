"""The tools over MCP: on stdin and stdout, and as ``/mcp`` of the server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import mcp_types as types
import orjson
from mcp.server import Server, ServerRequestContext
from mcp.server.stdio import stdio_server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.requests import Request
from starlette.responses import Response

from hydra_cli import __version__
from hydra_cli.serving.asker import USER_HEADER, Asker
from hydra_cli.serving.endpoints import Endpoint
from hydra_cli.serving.errors import ApiError
from hydra_cli.serving.failures import logged, told
from hydra_cli.serving.service import Service
from hydra_cli.serving.tools import TOOLS, Arguments, Tool

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.types import Receive, Scope, Send

INSTRUCTIONS = (
    "hydra-pers knows how each user writes and decides. Before you answer for a user, call "
    "personal_examples with the query and follow the examples. If you are unsure, write several "
    "drafts and let rank_drafts pick. Once you know what the user made of the answer, call "
    "record_feedback."
)
_TOOLS = {tool.name: tool for tool in TOOLS}


def tools_server(service: Service, local: Asker | None = None) -> Server[Any]:
    """The protocol's server. ``local`` asks where no HTTP request says who does."""

    async def list_tools(
        _: ServerRequestContext[Any, Any], __: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[_described(tool) for tool in TOOLS])

    async def call_tool(
        context: ServerRequestContext[Any, Any], params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        try:
            asker, headers = _asking(context.request, local)
            tool = _named(params.name)
            arguments = params.arguments or {}
            user = _user(asker, headers, arguments)
            given = Arguments({name: v for name, v in arguments.items() if name != "user"})
            found = await service.in_thread(lambda: tool.run(service.hydra, user, given))
        except Exception as error:  # a tool's failure is the model's to read
            answer = told(error)
            logged(error, answer.status, "MCP tools/call")
            return _said(" ".join(answer.message.split()), failed=True)
        return _said(orjson.dumps(found).decode(), found)

    server: Server[Any] = Server(
        "hydra-pers",
        version=__version__,
        title="hydra-pers",
        instructions=INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )
    server.middleware.clear()  # it would tell an OpenTelemetry exporter of every call
    return server


def _asking(request: Request | None, local: Asker | None) -> tuple[Asker, Mapping[str, str]]:
    if request is None:
        assert local is not None
        return local, {}
    asker: Asker = request.state.asker
    return asker, request.headers


def _named(name: str) -> Tool:
    if name not in _TOOLS:
        known = ", ".join(_TOOLS)
        raise ApiError(404, f"there is no tool {name[:80]!r} (there are {known})", code="not_found")
    return _TOOLS[name]


def _user(asker: Asker, headers: Mapping[str, str], arguments: Mapping[str, Any]) -> str | None:
    """Whose tool call it is. Whom key or header name, the model can't change."""
    named = Arguments(arguments).maybe_text("user") or None
    bound = asker.user_of(headers, {})
    if bound is not None and named not in (None, bound):
        where = "this key" if asker.user is not None else f"the header {USER_HEADER}"
        raise ApiError(403, f"{where} isn't for user {named[:80]!r}", code="wrong_user")
    return bound or named


def _described(tool: Tool) -> types.Tool:
    return types.Tool(
        name=tool.name,
        title=tool.title,
        description=tool.about,
        input_schema=tool.schema,
        annotations=types.ToolAnnotations(
            title=tool.title, read_only_hint=tool.reads, open_world_hint=False
        ),
    )


def _said(
    text: str, found: dict[str, Any] | None = None, *, failed: bool = False
) -> types.CallToolResult:
    content = types.TextContent(type="text", text=text)
    return types.CallToolResult(content=[content], structured_content=found, is_error=failed)


async def serve_stdio(service: Service, user: str | None) -> None:
    """Answer one client on stdin and stdout until it hangs up; ``user``: for nobody else."""
    server = tools_server(service, Asker(user=user))
    async with stdio_server() as (reading, writing):
        await server.run(reading, writing, server.create_initialization_options())


@asynccontextmanager
async def sessions(app: Starlette) -> AsyncIterator[None]:
    """A lifespan of the application: what answers ``/mcp`` meanwhile.

    No session is kept: every request says again who asks. Host and Origin were checked
    at the server's door.
    """
    service: Service = app.state.service
    manager = StreamableHTTPSessionManager(
        tools_server(service),
        json_response=True,
        stateless=True,
        max_request_body_size=service.options.body_bytes,
    )
    async with manager.run():
        app.state.mcp = manager
        yield


class _Handed(Response):
    """The answer of another ASGI application."""

    def __init__(self, manager: StreamableHTTPSessionManager) -> None:
        super().__init__()
        self._manager = manager

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._manager.handle_request(scope, receive, send)


async def message(request: Request) -> Response:
    manager: StreamableHTTPSessionManager = request.app.state.mcp
    return _Handed(manager)


ENDPOINTS = (
    Endpoint(
        method="POST",
        path="/mcp",
        handler=message,
        summary="The Model Context Protocol, a message at a time",
        own_errors=True,
        bodies={"application/json": {"type": "object", "description": "A JSON-RPC message."}},
        answers={"application/json": {"type": "object", "description": "A JSON-RPC message."}},
    ),
)
