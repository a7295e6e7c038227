"""The messages of an MCP server, with what its client library would refuse taken out."""

from collections.abc import Mapping
from typing import Any

from tools.errors import ToolSettingsError
from tools.plugins.parameters import parameters_of_schema

# Of what a list of tools says of one, in characters.
_LONGEST_PARTS = {"title": 10_000, "description": 10_000, "inputSchema": 100_000}


class SoundTools:
    """What a server sends, with what the client refuses in a list of tools taken out.

    It would refuse the whole list for one malformed tool.

    Args:
        refused: Gets what is wrong with the arguments of a tool, by name.
    """

    def __init__(self, stream: Any, refused: dict[str, str]) -> None:
        self._stream, self._refused = stream, refused

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    async def __aenter__(self) -> "SoundTools":
        await self._stream.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> Any:
        return await self._stream.__aexit__(*error)

    def __aiter__(self) -> "SoundTools":
        return self

    async def __anext__(self) -> Any:
        item = await anext(self._stream)
        result = getattr(getattr(item, "message", None), "result", None)
        if isinstance(result, dict) and isinstance(tools := result.get("tools"), list):
            tools = [tool for tool in tools if isinstance(tool, dict)]
            result["tools"] = [self._sound(tool) for tool in tools if type(tool.get("name")) is str]
        return item

    def _sound(self, tool: Mapping[str, Any]) -> dict[str, Any]:
        name, schema = tool["name"], tool.get("inputSchema")
        self._refused.pop(name, None)
        try:
            for part, most in _LONGEST_PARTS.items():
                if (length := len(str(tool.get(part)))) > most:
                    raise ToolSettingsError(
                        f"its {part} has {length:,} characters. Expected {most:,} at most"
                    )
            parameters_of_schema(schema, name)
        except ToolSettingsError as error:
            self._refused[name], schema = str(error), {}
        # What an answer has beside its text is not read, nor what a tool says of that.
        said = {key: tool[key] for key in ("title", "description") if type(tool.get(key)) is str}
        arguments = {key: value for key, value in dict(schema or {}).items() if key != "$schema"}
        return {"name": name, **said, "inputSchema": {**arguments, "type": "object"}}
