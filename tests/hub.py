"""A small model hub: what `huggingface_hub` asks of one, without xet storage."""

import base64
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

WRITER, READER, STRANGER = "hf_writes", "hf_reads", "hf_of_somebody_else"
_ROLES = {WRITER: ("ada", "write"), READER: ("ada", "read"), STRANGER: ("bob", "write")}
# A dataset, or a model, which has no prefix where files are fetched.
_REPOSITORY = re.compile(
    r"(?:/api/(?:datasets|models)/|/datasets/|/)((?:ada|bob)/[\w-]+)(?:\.git)?(?:/(.*))?$"
)
_NO_RIGHTS = {"error": "You don't have the rights"}


class Hub(ThreadingHTTPServer):
    """Datasets and models of the accounts `ada` and `bob`, and what was asked for.

    Attributes:
        repositories: for each its commits, each with its files by name.
        is_private: whether it was made as a private one.
        arrived: contents that were sent, by digest, whether a commit names them or not.
        requests: method and path of every request.
        refuses: parts of paths that get this status.
        loses_answers: whether commits are made, and answered as by a gateway that gave up.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.repositories: dict[str, list[dict[str, bytes]]] = {}
        self.is_private: dict[str, bool] = {}
        self.arrived: dict[str, bytes] = {}
        self.requests: list[tuple[str, str]] = []
        self.refuses: dict[str, int] = {}
        self.loses_answers = False

    def files(self, repository: str) -> dict[str, bytes]:
        """The files of the newest commit."""
        return self.repositories[repository][-1]

    def sha(self, repository: str) -> str:
        """The name of the newest commit."""
        return f"{len(self.repositories[repository]):040x}"

    def asked(self, method: str) -> int:
        """How many requests had this method; PUT sends a file of its own."""
        return sum(each == method for each, _ in self.requests)


@contextmanager
def running_hub() -> Iterator[Hub]:
    hub = Hub()
    thread = Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        thread.join()
        hub.server_close()


@contextmanager
def connected_hub(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[Hub]:
    """A hub that `huggingface_hub` asks as its writer; what it caches lies in the folder."""
    from huggingface_hub import constants

    # Its storage is a service of its own.
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "hub-cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(folder / "no-token"))
    monkeypatch.setenv("HF_TOKEN", WRITER)
    with running_hub() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        address = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address)
        yield hub


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
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.requests.append((self.command, path))
        refused = [status for part, status in self.server.refuses.items() if part in path]
        if refused:
            return self._send({"error": "refused on purpose"}, refused[0])
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if token and token not in _ROLES:
            return self._send({"error": "Invalid username or password."}, 401)
        self.account, self.role = _ROLES.get(token, ("", ""))
        if repository := _REPOSITORY.match(path):
            return self._of_repository(repository[1], (repository[2] or "").split("/"), body)
        return self._of_account(path, body)

    def _of_account(self, path: str, body: bytes) -> None:
        if path == "/api/whoami-v2":
            access = {"accessToken": {"role": self.role}}
            return self._send({"name": self.account, "auth": access})
        if path == "/api/validate-yaml":
            return self._send({"warnings": [], "errors": []})
        if path == "/api/repos/create":
            asked = json.loads(body)
            if self.role != "write" or asked["organization"] != self.account:
                return self._send(_NO_RIGHTS, 403)
            name = f"{self.account}/{asked['name']}"
            self.server.repositories[name] = [{".gitattributes": b""}]
            self.server.is_private[name] = asked.get("visibility") == "private"
            return self._send({"url": f"{self.server.url}/datasets/{name}"})
        if not path.startswith("/lfs/"):
            return self._send({"error": "There is no such thing here"}, 404)
        self.server.arrived[path.removeprefix("/lfs/")] = body
        return self._send({})

    def _of_repository(self, name: str, action: list[str], body: bytes) -> None:
        # As the hub does it, which tells nobody of a private repository.
        if name not in self.server.repositories or not self.account:
            code = {"X-Error-Code": "RepoNotFound"}
            return self._send({"error": "Repository not found"}, 404, code)
        owner, kind = name.partition("/")[0], action[0] or "revision"
        is_write = kind in ("preupload", "commit", "info") or action[-1:] == ["write"]
        if is_write and (self.role, owner) != ("write", self.account):
            return self._send(_NO_RIGHTS, 403)
        answers = {
            "revision": self._facts,
            "auth-check": lambda *_: self._send({}),
            "tree": self._tree,
            "resolve": self._file,
            "preupload": self._upload_modes,
            "info": self._uploads,
            "commit": self._commit,
        }
        return answers[kind](name, "/".join(action[2:]), body)

    def _facts(self, name: str, _rest: str, _body: bytes) -> None:
        siblings = [{"rfilename": file} for file in self.server.files(name)]
        self._send({"id": name, "sha": self.server.sha(name), "siblings": siblings})

    def _tree(self, name: str, folder: str, _body: bytes) -> None:
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

    def _file(self, name: str, file: str, _body: bytes) -> None:
        content = self.server.files(name).get(file)
        if content is None:
            return self._send({"error": "No file"}, 404, {"X-Error-Code": "EntryNotFound"})
        headers = {"X-Repo-Commit": self.server.sha(name), "ETag": f'"{_oid(content)}"'}
        status, sent = 200, content
        if asked := self.headers.get("Range"):
            first, _, last = asked.removeprefix("bytes=").partition("-")
            status, sent = 206, content[int(first) : int(last or len(content)) + 1]
        return self._send_bytes(sent, status, headers)

    def _upload_modes(self, name: str, _rest: str, body: bytes) -> None:
        files = self.server.files(name)
        self._send({"files": [_mode(file["path"], files) for file in json.loads(body)["files"]]})

    def _uploads(self, _name: str, _rest: str, body: bytes) -> None:
        objects = json.loads(body)["objects"]
        for each in objects:
            if each["oid"] not in self.server.arrived:
                each["actions"] = {"upload": {"href": f"{self.server.url}/lfs/{each['oid']}"}}
        self._send({"transfer": "basic", "objects": objects})

    def _commit(self, name: str, _rest: str, body: bytes) -> None:
        head, *lines = (json.loads(line) for line in body.splitlines())
        if head["value"].get("parentCommit") not in (None, self.server.sha(name)):
            return self._send({"error": "The branch has moved"}, 412)
        changed = dict(self.server.files(name))
        for line in lines:
            value = line["value"]
            if line["key"] == "lfsFile":
                changed[value["path"]] = self.server.arrived[value["oid"]]
            elif line["key"] == "file":
                changed[value["path"]] = base64.b64decode(value["content"])
            else:
                del changed[value["path"]]
        self.server.repositories[name].append(changed)
        if self.server.loses_answers:
            return self._send({"error": "Gateway Time-out"}, 504)
        sha = self.server.sha(name)
        address = f"{self.server.url}/datasets/{name}/commit/{sha}"
        return self._send({"commitUrl": address, "commitOid": sha})

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


def _mode(file: str, files: dict[str, bytes]) -> dict[str, Any]:
    mode = "lfs" if file.endswith(".parquet") else "regular"
    digest = (lambda each: hashlib.sha256(each).hexdigest()) if mode == "lfs" else _oid
    oid = digest(files[file]) if file in files else None
    return {"path": file, "uploadMode": mode, "shouldIgnore": False, "oid": oid}
