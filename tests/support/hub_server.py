"""A local Hugging Face Hub for tests, with the part of its API that downloads need.

    GET  /api/models/{repo}/revision/{revision}      the commit of a branch or tag
    GET  /api/models/{repo}/tree/{commit}            the files of a commit
    HEAD /{repo}/resolve/{revision}/{file}           commit, ETag and size of a file
    GET  /{repo}/resolve/{revision}/{file}           the file

Datasets have the same paths under /api/datasets and /datasets; their names begin with `datasets/`.

Errors have the status and `X-Error-Code` of the real Hub. A gated repository lists its files but
serves none of them.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final, Self
from urllib.parse import unquote, urlsplit

__all__ = ["HubServer", "files_of"]

_ROUTES: Final = (
    ("info", re.compile(r"/api/models/(?P<repo>[^/]+/[^/]+)(/revision/(?P<revision>.+))?")),
    ("tree", re.compile(r"/api/models/(?P<repo>[^/]+/[^/]+)/tree/(?P<revision>[^/]+)/?")),
    ("file", re.compile(r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)")),
    ("info", re.compile(r"/api/(?P<repo>datasets/[^/]+/[^/]+)(/revision/(?P<revision>.+))?")),
    ("tree", re.compile(r"/api/(?P<repo>datasets/[^/]+/[^/]+)/tree/(?P<revision>[^/]+)/?")),
    (
        "file",
        re.compile(r"/(?P<repo>datasets/[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)"),
    ),
)

#: The Hub stores these files as Git LFS objects, which have another hash.
_LFS_SUFFIXES: Final = (".safetensors", ".bin", ".onnx", ".parquet")


def files_of(folder: Path) -> dict[str, bytes]:
    """Return the contents of the files of a folder, by relative path."""
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


class HubServer:
    """Serves repositories from memory while its context is open.

    `requests` lists all requests, such as `GET /owner/name/resolve/…/config.json`.
    """

    def __init__(self) -> None:
        self.requests: list[str] = []
        self._repos: dict[str, _Repo] = {}
        self._server: _HubHttpServer | None = None
        self._port = 0

    @property
    def url(self) -> str:
        """The value of `HF_ENDPOINT`."""
        return f"http://127.0.0.1:{self._port}"

    def commit(
        self, repo: str, files: Mapping[str, bytes], *, branch: str = "main", gated: bool = False
    ) -> str:
        """Commit these files on a branch, and return the hash of the commit."""
        known = self._repos.setdefault(repo, _Repo())
        known.gated = gated
        digest = hashlib.sha1(f"{len(known.commits)} of {repo}".encode(), usedforsecurity=False)
        for path, content in sorted(files.items()):
            digest.update(f"{path}\0{_Blob(content, path).oid}\0".encode())
        commit = digest.hexdigest()
        known.commits[commit] = {path: _Blob(content, path) for path, content in files.items()}
        known.refs[branch] = commit
        return commit

    def tag(self, repo: str, name: str, commit: str) -> None:
        """Tag a commit."""
        self._repos[repo].refs[name] = commit

    def downloaded(self) -> list[str]:
        """Return the paths of the downloaded files, in order of the requests."""
        return [
            request.split("/resolve/")[1].partition("/")[2]
            for request in self.requests
            if request.startswith("GET ") and "/resolve/" in request
        ]

    def switch_on(self) -> None:
        """Start the server, at the same address as before."""
        self._server = _HubHttpServer(("127.0.0.1", self._port), self._repos, self.requests)
        self._port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def switch_off(self) -> None:
        """Stop the server. A second call has no effect."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def __enter__(self) -> Self:
        self.switch_on()
        return self

    def __exit__(self, *_: object) -> None:
        self.switch_off()


@dataclass(frozen=True, slots=True)
class _Blob:
    """One version of a file, with its hashes in Git and Git LFS."""

    content: bytes
    path: str

    @property
    def oid(self) -> str:
        header = f"blob {len(self.content)}\0".encode()
        return hashlib.sha1(header + self.content, usedforsecurity=False).hexdigest()

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def is_lfs(self) -> bool:
        return self.path.endswith(_LFS_SUFFIXES)

    @property
    def etag(self) -> str:
        return self.sha256 if self.is_lfs else self.oid

    def entry(self) -> dict[str, object]:
        """Return the file's entry in a listing."""
        size = len(self.content)
        entry: dict[str, object] = {
            "type": "file", "oid": self.oid, "size": size, "path": self.path
        }  # fmt: skip
        if self.is_lfs:
            entry["lfs"] = {"oid": self.sha256, "size": size, "pointerSize": 134}
        return entry


@dataclass(slots=True)
class _Repo:
    """A repository: its commits, its branches and tags, and whether it is gated."""

    commits: dict[str, dict[str, _Blob]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    gated: bool = False

    def resolve(self, revision: str) -> str | None:
        """Return the commit of a branch, a tag, or a prefix of a commit's hash."""
        if revision in self.refs:
            return self.refs[revision]
        return next((commit for commit in self.commits if commit.startswith(revision)), None)


class _HttpError(Exception):
    """A reply other than 200, with the error code of the real Hub."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status = status
        self.code = code


class _HubHttpServer(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(
        self, address: tuple[str, int], repos: Mapping[str, _Repo], requests: list[str]
    ) -> None:
        super().__init__(address, _Handler)
        self.repos = repos
        self.requests = requests


class _Handler(BaseHTTPRequestHandler):
    """Handles one request per connection, so that no connection is open when the Hub stops."""

    server: _HubHttpServer

    def do_GET(self) -> None:
        self._handle()

    def do_HEAD(self) -> None:
        self._handle()

    def log_message(self, *_: object) -> None:
        """Do not log requests."""

    def _handle(self) -> None:
        address = unquote(urlsplit(self.path).path)
        self.server.requests.append(f"{self.command} {address}")
        try:
            headers, body = self._reply(address)
        except _HttpError as error:
            self._send(error.status, {"X-Error-Code": error.code}, b"{}")
        else:
            self._send(200, headers, body)

    def _reply(self, address: str) -> tuple[dict[str, str], bytes]:
        for kind, pattern in _ROUTES:
            if found := pattern.fullmatch(address):
                return self._routed(kind, **found.groupdict())
        raise _HttpError(404, "EntryNotFound")

    def _routed(
        self, kind: str, *, repo: str, revision: str | None, path: str = ""
    ) -> tuple[dict[str, str], bytes]:
        known = self.server.repos.get(repo)
        if known is None:
            # The Hub replies 401 instead of 404, so as not to disclose private repositories.
            raise _HttpError(401, "RepoNotFound")
        commit = known.resolve(revision or "main")
        if commit is None:
            raise _HttpError(404, "RevisionNotFound")
        files = known.commits[commit]
        if kind == "info":
            siblings = [{"rfilename": name} for name in files]
            return _as_json({"id": repo, "sha": commit, "siblings": siblings})
        if kind == "tree":
            return _as_json([blob.entry() for blob in files.values()])
        if known.gated:
            raise _HttpError(403, "GatedRepo")
        if path not in files:
            raise _HttpError(404, "EntryNotFound")
        blob = files[path]
        return {"X-Repo-Commit": commit, "ETag": f'"{blob.etag}"'}, blob.content

    def _send(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _as_json(value: object) -> tuple[dict[str, str], bytes]:
    return {"Content-Type": "application/json"}, json.dumps(value).encode()
