"""An MCP server over HTTP by hand for the tests, which does what none should."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tools.protocol import Document
from tools.running.deadlines import Limits
from tools.running.execution import execute_calls

DOCUMENT, JSON = Document("d", "a text"), {"content-type": "application/json"}
SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
OTHER_SCHEMA = {**SCHEMA, "properties": {"text": {"type": "string", "maxLength": 9}}}

# What a request is answered with in place of the right answer: status, headers, body.
Answer = tuple[int, dict[str, str], bytes]


class RawServer(ThreadingHTTPServer):
    """The server, in threads of this process.

    Attributes:
        tools: schema by name.
        server_version: as it says itself.
        session: id of the session; requests with another are refused by 404.
        key: that requests must have; None for none.
        answers: by method of the protocol, or "" for every one, what is answered instead.
        seen: methods of the protocol that were asked, and headers.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.tools: dict[str, Any] = {"count": SCHEMA, "get-weather": SCHEMA}
        self.server_version = "1.0"
        self.session = 0
        self.key: str | None = None
        self.answers: dict[str, Callable[[dict[str, Any]], Answer]] = {}
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.over = threading.Event()
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/mcp"

    def methods(self) -> list[str]:
        return [method for method, _ in self.seen]

    def close(self) -> None:
        self.over.set()
        self.shutdown()
        self.server_close()

    def hang(self, request: dict[str, Any]) -> Answer:
        self.over.wait(20)
        return 200, {}, b""

    def result(self, request: dict[str, Any]) -> dict[str, Any]:
        method, params = request["method"], request.get("params") or {}
        if method == "initialize":
            about = {"name": "raw", "version": self.server_version}
            capabilities = {"tools": {}}
            version = params["protocolVersion"]
            return {"protocolVersion": version, "capabilities": capabilities, "serverInfo": about}
        if method == "tools/list":
            tools = self.tools.items()
            return {"tools": [{"name": name, "inputSchema": schema} for name, schema in tools]}
        if params["name"] not in self.tools:
            text = {"type": "text", "text": f"no tool {params['name']}"}
            return {"content": [text], "isError": True}
        text = str(len(params["arguments"]["text"].split()))
        return {"content": [{"type": "text", "text": text}]}


def outcome(tool, arguments="a b", attempts=1, deadline_seconds=20):
    limits = Limits(deadline_seconds, attempts=attempts)
    (result,) = execute_calls(tool, [(arguments, DOCUMENT)], limits=limits)
    return result


def reply(**what):
    """Answers any request with this result or error."""

    def answer(request):
        message = {"jsonrpc": "2.0", "id": request["id"], **what}
        return 200, JSON, json.dumps(message).encode()

    return answer


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    @property
    def raw(self) -> RawServer:
        assert isinstance(self.server, RawServer)
        return self.server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        request = json.loads(body)
        method = request["method"]
        self.raw.seen.append((method, dict(self.headers)))
        answer = self.raw.answers.get("") or self.raw.answers.get(method)
        if answer is not None:
            self._write(*answer(request))
        elif self.raw.key and self.headers["authorization"] != f"Bearer {self.raw.key}":
            self._write(401, {"content-type": "text/html"}, b"<h1>no</h1>")
        elif method == "server/discover":
            self._message(request, error={"code": -32601, "message": "Method not found"})
        elif "id" not in request:
            self._write(202, {}, b"")
        elif method != "initialize" and self.headers["mcp-session-id"] != f"s{self.raw.session}":
            self._write(404, {}, b"")
        else:
            self._message(request, result=self.raw.result(request))

    def do_GET(self) -> None:
        self._write(405, {}, b"")

    def do_DELETE(self) -> None:
        self.raw.seen.append(("DELETE", dict(self.headers)))
        self._write(200, {}, b"")

    def _message(self, request: dict[str, Any], **what: Any) -> None:
        message = {"jsonrpc": "2.0", "id": request["id"], **what}
        headers = {"content-type": "application/json", "mcp-session-id": f"s{self.raw.session}"}
        self._write(200, headers, json.dumps(message).encode())

    def _write(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Write nothing."""
