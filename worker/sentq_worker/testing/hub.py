"""A Hub on this machine: the router's protocol, the look-up of a model's task, and faults.

    POST /hf-inference/models/{id}   one text, as the router takes it
    POST /endpoint                   the same, as a dedicated endpoint takes it
    GET  /api/models/{id}            the look-up
    POST /script   GET /calls        what to do with the next calls; how many there were

A thread a connection of the standard library's server: the faults are made on the socket itself,
where an application server would not let us.
"""

from __future__ import annotations

import json
import re
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Final, Self

from sentq_worker.testing.replies import FakeReply, ScriptStep, hash_scores, read_script, reply

__all__ = ["LocalHub"]

_MODEL: Final = re.compile(r"/hf-inference/models/(?P<model>[\w.-]+/[\w.-]+)")
_LOOKUP: Final = re.compile(r"/api/models/(?P<model>[\w.-]+/[\w.-]+)")
_ENDPOINT: Final = "/endpoint"

_ALWAYS: Final = "always "


class LocalHub:
    """Serves on the loopback interface from `with` on, in threads of its own.

    Args:
        port: 0 takes any that is free.
        labels: Of every model.
        latency_s: What an answer takes.
        token: The only one that it takes; None takes any, and none.
        score: The probabilities of a text, by label; a hash of it where it is not given.
        task: What the look-up says of every model.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        labels: Sequence[str] = ("negative", "neutral", "positive"),
        latency_s: float = 0.0,
        token: str | None = None,
        score: Callable[[str], Mapping[str, float]] | None = None,
        task: str = "text-classification",
    ) -> None:
        self.latency_s = latency_s
        self.task = task
        #: The texts of all calls, in the order in which they came.
        self.texts: list[str] = []
        #: What the look-up does.
        self.lookup = ScriptStep(FakeReply.OK)
        #: How many look-ups there were.
        self.lookups = 0
        #: Most calls that were in flight at once.
        self.most_at_once = 0
        self._score = score or partial(hash_scores, labels=labels)
        self._token = token
        self._script: deque[ScriptStep] = deque()
        self._afterwards = ScriptStep(FakeReply.OK)
        self._at_once = 0
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._server = _Server(("127.0.0.1", port), partial(_Call, self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def url(self) -> str:
        """Where it is; `HF_ENDPOINT` and `HF_INFERENCE_ENDPOINT` of whoever is to use it."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def endpoint(self) -> str:
        """The address of a dedicated endpoint."""
        return self.url + _ENDPOINT

    @property
    def calls(self) -> int:
        """How many there were so far; look-ups do not count."""
        return len(self.texts)

    def script(self, words: str) -> None:
        """Say what to do with the next calls: a word each, then it answers; or "always" and one
        word.

        Raises:
            ValueError: One of the words is no `FakeReply`.
        """
        if words.startswith(_ALWAYS):
            (step,) = read_script(words.removeprefix(_ALWAYS))
            script: list[ScriptStep] = []
        else:
            script, step = read_script(words), ScriptStep(FakeReply.OK)
        with self._lock:
            self._script, self._afterwards = deque(script), step

    def handle(self, call: BaseHTTPRequestHandler, text: str) -> None:
        """Do with a call what the script says."""
        with self._lock:
            self.texts.append(text)
            step = self._script.popleft() if self._script else self._afterwards
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            if not self._ended.wait(self.latency_s):
                reply(call, step, self._score(text), text=text, wait=self._ended.wait)
        finally:
            with self._lock:
                self._at_once -= 1

    def admits(self, authorization: str | None) -> bool:
        """Whether a call with this header may pass."""
        return self._token is None or authorization == f"Bearer {self._token}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: object) -> None:
        """Say nothing: a caller that hangs up is part of the play."""


class _Call(BaseHTTPRequestHandler):
    """Reads one connection's calls."""

    protocol_version = "HTTP/1.1"
    #: An answer leaves in one piece and at once.
    wbufsize = -1
    disable_nagle_algorithm = True

    def __init__(self, hub: LocalHub, *args: object) -> None:
        self._hub = hub
        super().__init__(*args)  # type: ignore[arg-type]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if self.path == "/script":
            self._take_script(body.decode())
        elif self.path != _ENDPOINT and not _MODEL.fullmatch(self.path):
            self._say(404, {"error": "there is no such address"})
        elif not self._hub.admits(self.headers.get("Authorization")):
            self._say(401, {"error": "Invalid credentials in Authorization header"})
        else:
            self._hub.handle(self, json.loads(body)["inputs"])

    def do_GET(self) -> None:
        if self.path == "/calls":
            self._say(200, {"calls": self._hub.calls, "lookups": self._hub.lookups})
        elif found := _LOOKUP.fullmatch(self.path.partition("?")[0]):
            self._look_up(found["model"])
        else:
            self._say(404, {"error": "there is no such address"})

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _take_script(self, words: str) -> None:
        try:
            self._hub.script(words)
        except ValueError as error:
            self._say(400, {"error": str(error)})
        else:
            self._say(200, {})

    def _look_up(self, model: str) -> None:
        hub = self._hub
        hub.lookups += 1
        if hub.lookup.reply is FakeReply.OK:
            self._say(200, {"id": model, "pipeline_tag": hub.task, "tags": [], "siblings": []})
        else:
            reply(self, hub.lookup, {}, wait=hub._ended.wait)  # noqa: SLF001 - one file, one thing

    def _say(self, status: int, document: object) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
