"""Jobs that go through a gateway whose services are killed, and what became of each of them."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import httpx2 as httpx

__all__ = ["Account", "GatewayJobs", "NoAnswer"]

#: Texts of an upload; each is a job.
_UPLOAD_TEXTS: Final = 1000

#: One job in so many is sent by itself, with `POST /v1/jobs`.
_SINGLE_SHARE: Final = 10

#: Uploads and single jobs that are under way at the same time.
_THREADS: Final = 8

#: What a client repeats: the gateway or Redis is away, or a gateway has died during the request.
_REPEATED: Final = {408, 409, 429, 502, 503, 504}

#: Between two attempts.
_PAUSE_S: Final = 0.5

#: How much two scores of a text differ at most, and those of other texts at least.
_SAME_SCORE: Final = 1e-4


class NoAnswer(Exception):
    """No gateway has answered for a long time, or one has refused what it must accept."""


@dataclass(slots=True)
class Account:
    """What became of jobs.

    Attributes:
        accepted: The ids of those that were sent alone, and the ids and sizes of batches.
        done: Jobs with the expected outcome.
        wrong: Jobs with another one.
        failed: Jobs with an error.
    """

    accepted: dict[str, int] = field(default_factory=dict)
    done: int = 0
    wrong: int = 0
    failed: int = 0

    @property
    def jobs(self) -> int:
        """How many jobs were accepted."""
        return sum(self.accepted.values())

    @property
    def lost(self) -> int:
        """Accepted jobs without any outcome."""
        return self.jobs - self.done - self.wrong - self.failed

    def __str__(self) -> str:
        return (
            f"{self.jobs:,} accepted, {self.done:,} done, {self.wrong:,} wrong, "
            f"{self.failed:,} failed, {self.lost:,} lost"
        )


class GatewayJobs:
    """Sends jobs to a gateway, and reads their outcomes.

    Args:
        http: A client of the gateway, with a key.
        texts: Different texts; jobs take them in turn.
        patience_s: How long one request is repeated.
    """

    def __init__(
        self, http: httpx.Client, texts: Sequence[str], *, patience_s: float = 600
    ) -> None:
        self._http = http
        self._texts = texts
        self._patience_s = patience_s
        self._lock = threading.Lock()
        self._sent = 0
        self.account = Account()
        reply = self._request("POST", "/v1/score", json={"texts": list(texts)}, prefer="wait=60")
        self._expected = [outcome["score"] for outcome in reply.json()["outcomes"]]

    def run(self, jobs: int) -> None:
        """Send jobs and read their outcomes. Some thousands are under way at the same time.

        Raises:
            NoAnswer: See there.
        """
        singles = jobs // _SINGLE_SHARE
        parts = [
            range(first, min(first + _UPLOAD_TEXTS, jobs))
            for first in range(singles, jobs, _UPLOAD_TEXTS)
        ]
        with ThreadPoolExecutor(_THREADS) as pool:
            running = [pool.submit(self._upload, part) for part in parts]
            running += [pool.submit(self._send, number) for number in range(singles)]
            for each in running:
                each.result()

    def _send(self, number: int) -> None:
        body = {"texts": self._text(number)}
        job = self._request("POST", "/v1/jobs", json=body, key=self._new_key()).json()["id"]
        self._accept(job, 1)
        while (reply := self._request("GET", f"/v1/jobs/{job}", prefer="wait=30").json())[
            "status"
        ] not in {"done", "failed"}:
            pass
        outcomes = reply["outcome"]["outcomes"] if reply["status"] == "done" else [{}]
        self._count(number, outcomes[0])

    def _upload(self, numbers: range) -> None:
        lines = "".join(json.dumps(self._text(number)) + "\n" for number in numbers)
        path = "/v1/batches?texts_per_job=1"
        kind = "application/x-ndjson"
        reply = self._request("POST", path, content=lines, key=self._new_key(), kind=kind)
        batch = reply.json()["id"]
        self._accept(batch, len(numbers))
        for number, outcome in zip(numbers, self._results(batch, len(numbers)), strict=True):
            self._count(number, outcome)
        progress = self._request("GET", f"/v1/batches/{batch}").json()["jobs"]
        if progress["done"] != len(numbers) or progress["remaining"]:
            raise NoAnswer(f"a batch of {len(numbers)} says {progress}")

    def _results(self, batch: str, jobs: int) -> Iterator[dict[str, Any]]:
        """Yield the outcomes of a batch in order. If the response breaks off, go on."""
        found, deadline = 0, time.monotonic() + self._patience_s
        while found < jobs:
            if time.monotonic() > deadline:
                raise NoAnswer(f"no further result of a batch for {self._patience_s} s")
            path = f"/v1/batches/{batch}/results?first={found}"
            with suppress(httpx.TransportError), self._http.stream("GET", path) as reply:
                if reply.is_success:
                    for line in reply.iter_lines():
                        outcome = json.loads(line)
                        if outcome["index"] != found:
                            raise NoAnswer(f"result {outcome['index']} in place of {found}")
                        yield outcome
                        found, deadline = found + 1, time.monotonic() + self._patience_s
            if found < jobs:
                time.sleep(_PAUSE_S)

    def _request(
        self,
        method: str,
        path: str,
        *,
        key: str = "",
        prefer: str = "",
        kind: str = "application/json",
        **body: Any,
    ) -> httpx.Response:
        """Send a request, again and again while the service is away."""
        headers = {"Idempotency-Key": key, "Prefer": prefer, "Content-Type": kind}
        headers = {name: value for name, value in headers.items() if value}
        deadline, reason = time.monotonic() + self._patience_s, ""
        while time.monotonic() < deadline:
            try:
                reply = self._http.request(method, path, headers=headers, **body)
            except httpx.TransportError as error:
                reason = repr(error)
            else:
                if reply.is_success:
                    return reply
                reason = f"{reply.status_code}: {reply.text}"
                if reply.status_code not in _REPEATED:
                    break
            time.sleep(_PAUSE_S)
        raise NoAnswer(f"{method} {path}: {reason}")

    def _text(self, number: int) -> str:
        return self._texts[number % len(self._texts)]

    def _new_key(self) -> str:
        with self._lock:
            self._sent += 1
            return f"check-{id(self)}-{self._sent}"

    def _accept(self, name: str, jobs: int) -> None:
        with self._lock:
            if name in self.account.accepted:
                raise NoAnswer(f"two requests got the same id {name}")
            self.account.accepted[name] = jobs

    def _count(self, number: int, outcome: dict[str, Any]) -> None:
        """Count an outcome. Scores tell texts apart, so an outcome of another text is wrong."""
        expected = self._expected[number % len(self._texts)]
        with self._lock:
            if "score" not in outcome:
                self.account.failed += 1
            elif abs(outcome["score"] - expected) > _SAME_SCORE:
                self.account.wrong += 1
            else:
                self.account.done += 1
