"""The messages of an MCP server, with limits that its client library does not set."""

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import anyio
import httpx2 as httpx
from anyio.streams.text import TextReceiveStream
from pydantic import ValidationError

from tools.errors import ToolSettingsError
from tools.plugins.parameters import parameters_of_schema

# Of a message, in bytes or characters, and of what a list of tools says of one, in characters.
LONGEST_MESSAGE = 4 * 2**20
_LONGEST_PARTS = {"title": 10_000, "description": 10_000, "inputSchema": 100_000}


class LimitedLines(TextReceiveStream):
    """Lines of a program's output; behind one that is too long, which is cut, it has none."""

    _length = 0

    async def receive(self) -> str:
        """The next piece of the text."""
        if self._length > LONGEST_MESSAGE:
            raise anyio.EndOfStream
        text = await super().receive()
        _, newline, rest = text.rpartition("\n")
        # A piece is far shorter than the limit, so a line that ends in one is hardly longer.
        self._length = len(rest) if newline else self._length + len(rest)
        return text if self._length <= LONGEST_MESSAGE else f"{text}\n"


class LimitedAnswer(httpx.AsyncByteStream):
    """The body of an answer that breaks off behind so many bytes.

    Args:
        refuse: Called when it does.
    """

    def __init__(self, stream: httpx.AsyncByteStream, limit: int, refuse: Callable[[], None]):
        self._stream, self._limit, self._refuse = stream, limit, refuse

    async def __aiter__(self) -> AsyncIterator[bytes]:
        received = 0
        async for piece in self._stream:
            received += len(piece)
            if received > self._limit:
                self._refuse()
                raise httpx.StreamError("too long")
            yield piece

    async def aclose(self) -> None:
        """Give the connection back."""
        await self._stream.aclose()


class SoundTools:
    """What a server sends, with what the client refuses in a list of tools taken out.

    It would refuse the whole list for one malformed tool.

    Args:
        refused: Gets what is wrong with the arguments of a tool, by name.
    """

    def __init__(self, stream: Any, refused: dict[str, str]) -> None:
        self._stream, self._refused = stream, refused
        self._is_over = False

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
        if self._is_over:
            raise StopAsyncIteration
        item = await anext(self._stream)
        # The client library would wait until the program ends.
        self._is_over = isinstance(item, ValidationError) and is_too_long(item)
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


def is_too_long(message: ValidationError) -> bool:
    """Whether what is no message is one that was cut."""
    return len(str(message.errors()[0]["input"])) > LONGEST_MESSAGE
