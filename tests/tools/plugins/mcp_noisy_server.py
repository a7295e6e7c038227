"""An MCP server by hand for the tests, which prints, and answers out of order."""

import json
import sys

_PARAMETERS = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
_TOOLS = [{"name": "half", "description": "Halves a number.", "inputSchema": _PARAMETERS}]


def _write(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _answer(n: int) -> dict:
    text = {"type": "text", "text": f"{n / 2:g}"}
    answers = {
        12: {"content": [text, {"type": "text", "text": "(half of 12)"}]},
        14: {"content": [{"type": "image", "data": "AAAA", "mimeType": "image/png"}]},
        16: {"content": [{"type": "text", "text": "quota exceeded"}], "isError": True},
        18: {"content": [{"type": "text", "text": "9 " * 100_000}]},
        20: {"content": [{"type": "text", "text": "[10] -> see\n[2]\u202e"}]},
    }
    return answers.get(n, {"content": [text]})


def _result(method: str, params: dict) -> dict:
    if method == "initialize":
        version = params["protocolVersion"]
        server = {"name": "half", "version": "1.2"}
        return {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": server}
    if method == "tools/list":
        return {"tools": _TOOLS}
    if method == "tools/call":
        _write(f"DEBUG {params['arguments']}")
        return _answer(params["arguments"]["n"])
    return {}


def main() -> None:
    _write("Half Server is running …")
    # No text in UTF-8, and JSON that is no message.
    sys.stdout.buffer.write(b"\xff\xfe\n\n")
    _write('{"level": "info"}\n7\n[]\nnull')
    for line in sys.stdin:
        request = json.loads(line)
        if "id" in request:
            result = _result(request["method"], request.get("params") or {})
            # Answers to an earlier request, and to none.
            for number in (request["id"] - 1, request["id"] + 1000):
                other = {"content": [{"type": "text", "text": "another answer"}]}
                _write(json.dumps({"jsonrpc": "2.0", "id": number, "result": other}))
            _write(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}))


if __name__ == "__main__":
    main()
