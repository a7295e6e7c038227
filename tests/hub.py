"""A small model hub: what `huggingface_hub` asks of one, without xet storage."""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import pytest

READER = "hf_reads"
_REPOSITORY = re.compile(r"(?:/api)?/datasets/(ada/[\w-]+)(?:\.git)?(?:/(.*))?$")


class Hub(ThreadingHTTPServer):
    """Datasets of the account `ada`, and the requests for them.

    Attributes:
        repositories: for each its commits, each with its files by name.
        requests: method and path of every request.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.repositories: dict[str, list[dict[str, bytes]]] = {}
        self.requests: list[tuple[str, str]] = []

    def files(self, repository: str) -> dict[str, bytes]:
        """The files of the newest commit."""
        return self.repositories[repository][-1]

    def sha(self, repository: str) -> str:
        """The name of the newest commit."""
        return f"{len(self.repositories[repository]):040x}"


@contextmanager
def connected_hub(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[Hub]:
    """A hub that `huggingface_hub` asks as its reader; what it caches lies in the folder."""
    from huggingface_hub import constants

    # Its storage is a service of its own.
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "hub-cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(folder / "no-token"))
    monkeypatch.setenv("HF_TOKEN", READER)
    hub = Hub()
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    address = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address)
    thread = Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        thread.join()
        hub.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_: Any) -> None:
        pass

    def parse_request(self) -> bool:
        """All methods are answered in one place."""
        parsed = super().parse_request()
        setattr(self, f"do_{self.command}", self._respond)
        return parsed

    def _respond(self) -> None:
        path = urlsplit(self.path).path
        self.server.requests.append((self.command, path))
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        repository = _REPOSITORY.match(path)
        if not repository:
            return self._send({"error": "There is no such thing here"}, 404)
        # As the hub does it, which tells nobody of a private repository.
        name, action = repository[1], (repository[2] or "").split("/")
        if name not in self.server.repositories or token != READER:
            code = {"X-Error-Code": "RepoNotFound"}
            return self._send({"error": "Repository not found"}, 404, code)
        answers = {"revision": self._facts, "tree": self._tree, "resolve": self._file}
        return answers[action[0] or "revision"](name, "/".join(action[2:]))

    def _facts(self, name: str, _rest: str) -> None:
        siblings = [{"rfilename": file} for file in self.server.files(name)]
        self._send({"id": name, "sha": self.server.sha(name), "siblings": siblings})

    def _tree(self, name: str, folder: str) -> None:
        files = self.server.files(name)
        before = f"{folder}/" if folder else ""
        below = [file for file in files if file.startswith(before)]
        entries = [_entry(file, files[file]) for file in below]
        if "recursive=true" not in self.path.lower():
            inner = {before + file.removeprefix(before).partition("/")[0] for file in below}
            entries = [entry for entry in entries if entry["path"] in inner]
            entries += [
                {"type": "directory", "path": name, "oid": _oid(name.encode())}
                for name in sorted(inner - files.keys())
            ]
        self._send(entries)

    def _file(self, name: str, file: str) -> None:
        content = self.server.files(name).get(file)
        if content is None:
            return self._send({"error": "No file"}, 404, {"X-Error-Code": "EntryNotFound"})
        headers = {"X-Repo-Commit": self.server.sha(name), "ETag": f'"{_oid(content)}"'}
        status, sent = 200, content
        if asked := self.headers.get("Range"):
            first, _, last = asked.removeprefix("bytes=").partition("-")
            status, sent = 206, content[int(first) : int(last or len(content)) + 1]
        return self._send_bytes(sent, status, headers)

    def _send(
        self, answer: object, status: int = 200, headers: dict[str, str] | None = None
    ) -> None:
        self._send_bytes(json.dumps(answer).encode(), status, headers or {})

    def _send_bytes(self, content: bytes, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _entry(file: str, content: bytes) -> dict[str, Any]:
    return {"type": "file", "path": file, "size": len(content), "oid": _oid(content)}
