"""Does the official Python client of the Model Context Protocol get on with `llmspell-storage mcp`?

    official_client.py PROGRAM DIRECTORY

The test `the_official_python_client_is_served` runs it, once in each way to begin a session.
"""

import asyncio
import json
import sys

from mcp import Client, StdioServerParameters


async def converse(program: str, directory: str, mode: str) -> None:
    command = StdioServerParameters(command=program, args=["--db", directory, "--scope", "user:ada", "mcp"])
    async with Client(command, mode=mode) as client:
        assert client.server_info.name == "llmspell-storage", client.server_info
        assert "recall" in (client.instructions or ""), client.instructions

        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert set(tools) == {"remember", "recall", "forget", "list", "get", "set_value", "get_value", "stats"}
        assert tools["recall"].annotations.read_only_hint is True
        assert tools["forget"].annotations.destructive_hint is True
        assert tools["remember"].annotations.destructive_hint is False

        async def call(tool: str, **arguments):
            result = await client.call_tool(tool, arguments)
            assert not result.is_error, result
            assert json.loads(result.content[0].text) == result.structured_content
            return result.structured_content

        entry = f"tea-{mode}"
        stored = await call("remember", text="Ada likes tea, straße ☕", id=entry, metadata={"mode": mode})
        assert stored == {"id": entry, "scope": "user:ada"}, stored
        found = await call("recall", query="tea", filter={"eq": {"field": "mode", "value": mode}})
        assert [result["text"] for result in found["results"]] == ["Ada likes tea, straße ☕"], found
        await call("set_value", key="theme", value={"dark": True})
        assert (await call("get_value", key="theme"))["value"] == {"dark": True}

        refused = await client.call_tool("recall", {"query": "tea", "scope": "user:bob"})
        assert refused.is_error and "not one of this server" in refused.content[0].text, refused

        resources = (await client.list_resources()).resources
        [mine] = [resource for resource in resources if resource.name == entry]
        read = await client.read_resource(mine.uri)
        assert json.loads(read.contents[0].text)["id"] == entry, read
        templates = (await client.list_resource_templates()).resource_templates
        assert [template.uri_template for template in templates] == ["memory:///{scope}/{id}"]
        assert (await call("forget", ids=[entry]))["forgotten"] == 1
        print(f"{mode}: protocol {client.protocol_version}")


async def main() -> None:
    program, directory = sys.argv[1:]
    for mode in ["legacy", "auto"]:
        await asyncio.wait_for(converse(program, directory, mode), 60)


asyncio.run(main())
