"""A local Hub: the router's protocol, the look-up of a model's task, and faults.

    POST /hf-inference/models/{id}   score one text, as the router does
    POST /endpoint                   score one text, as a dedicated endpoint does
    GET  /api/models/{id}            look up a model's task
    POST /script                     set what to do with the next calls
    GET  /calls                      count the calls so far

The server is the standard library's, with a thread for each connection: faults are made on the
socket itself, which an application server would not allow.
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
    """Serves on the loopback interface while its context is open, in threads of its own.

    Args:
        port: The port; 0 takes a free one.
        labels: The labels of every model.
        latency_s: The time before each reply, in seconds.
        token: The only accepted token; None accepts any token, and calls without one.
        score: Returns the probabilities of a text, by label. If it is not given, they are made from
            a hash of the text.
        task: The task of every model.
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
        #: The texts of all calls, in order of arrival.
        self.texts: list[str] = []
        #: The reply to a look-up.
        self.lookup = ScriptStep(FakeReply.OK)
        #: The number of look-ups so far.
        self.lookups = 0
        #: The most calls that were in flight at once.
        self.most_at_once = 0
        self._score = score or partial(hash_scores, labels=labels)
        self._token = token
        self._script: deque[ScriptStep] = deque()
        self._afterwards = ScriptStep(FakeReply.OK)
        self._in_flight = 0
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._server = _Server(("127.0.0.1", port), partial(_Call, self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def url(self) -> str:
        """Its address, for `HF_ENDPOINT` and `HF_INFERENCE_ENDPOINT` of a client."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def endpoint(self) -> str:
        """The address of a dedicated endpoint."""
        return self.url + _ENDPOINT

    @property
    def calls(self) -> int:
        """The number of calls so far, without look-ups."""
        return len(self.texts)

    def script(self, words: str) -> None:
        """Set what to do with the next calls.

        Args:
            words: A word for each call, after which calls get scores; or "always" and one word.

        Raises:
            ValueError: A word is not a `FakeReply`.
        """
        if words.startswith(_ALWAYS):
            (step,) = read_script(words.removeprefix(_ALWAYS))
            script: list[ScriptStep] = []
        else:
            script, step = read_script(words), ScriptStep(FakeReply.OK)
        with self._lock:
            self._script, self._afterwards = deque(script), step

    def handle(self, call: BaseHTTPRequestHandler, text: str) -> None:
        """Reply to a call as the script says."""
        with self._lock:
            self.texts.append(text)
            step = self._script.popleft() if self._script else self._afterwards
            self._in_flight += 1
            self.most_at_once = max(self.most_at_once, self._in_flight)
        try:
            if not self._ended.wait(self.latency_s):
                reply(call, step, self._score(text), text=text, wait=self._ended.wait)
        finally:
            with self._lock:
                self._in_flight -= 1

    def accepts(self, authorization: str | None) -> bool:
        """Return whether a call with this header is accepted."""
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
        """Log nothing: tests close connections on purpose."""


class _Call(BaseHTTPRequestHandler):
    """Reads the calls of one connection."""

    protocol_version = "HTTP/1.1"
    #: A reply is sent in one piece and at once.
    wbufsize = -1
    disable_nagle_algorithm = True

    def __init__(self, hub: LocalHub, *args: object) -> None:
        self._hub = hub
        super().__init__(*args)  # type: ignore[arg-type]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if self.path == "/script":
            self._set_script(body.decode())
        elif self.path != _ENDPOINT and not _MODEL.fullmatch(self.path):
            self._send(404, {"error": "there is no such address"})
        elif not self._hub.accepts(self.headers.get("Authorization")):
            self._send(401, {"error": "Invalid credentials in Authorization header"})
        else:
            self._hub.handle(self, json.loads(body)["inputs"])

    def do_GET(self) -> None:
        if self.path == "/calls":
            self._send(200, {"calls": self._hub.calls, "lookups": self._hub.lookups})
        elif found := _LOOKUP.fullmatch(self.path.partition("?")[0]):
            self._look_up(found["model"])
        else:
            self._send(404, {"error": "there is no such address"})

    def log_message(self, *_: object) -> None:
        """Log nothing."""

    def _set_script(self, words: str) -> None:
        try:
            self._hub.script(words)
        except ValueError as error:
            self._send(400, {"error": str(error)})
        else:
            self._send(200, {})

    def _look_up(self, model: str) -> None:
        hub = self._hub
        hub.lookups += 1
        if hub.lookup.reply is FakeReply.OK:
            self._send(200, {"id": model, "pipeline_tag": hub.task, "tags": [], "siblings": []})
        else:
            reply(self, hub.lookup, {}, wait=hub._ended.wait)  # noqa: SLF001 - classes of one module

    def _send(self, status: int, document: object) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
