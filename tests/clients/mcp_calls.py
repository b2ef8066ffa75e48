"""Run with the ``mcp`` package alone: what a client of it finds, as JSON.

Arguments: an address, or a folder and the command of a server that speaks on stdio.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys

from mcp import Client, StdioServerParameters


def told(result) -> str:
    return result.content[0].text


async def main() -> None:
    target = sys.argv[1]
    if not target.startswith("http"):
        target = StdioServerParameters(
            command=sys.argv[2], args=sys.argv[3:], cwd=target, env=dict(os.environ)
        )
    who = {"query": "Is the spoon safe?", "user": "mia"}
    drafts = ["It is a matter of taste, I suppose.", "mia says the spoon is."]
    async with Client(target) as client:
        tools = (await client.list_tools()).tools
        examples = await client.call_tool("personal_examples", who)
        ranked = await client.call_tool("rank_drafts", {**who, "drafts": drafts})
        mistake = await client.call_tool("rank_drafts", {**who, "drafts": []})
        found = {
            "server": client.server_info.name,
            "tools": [tool.name for tool in tools],
            "examples": examples.structured_content or told(examples),
            "ranked": ranked.structured_content or told(ranked),
            "mistake": [mistake.is_error, told(mistake)],
        }
    print(json.dumps(found))


asyncio.run(main())
