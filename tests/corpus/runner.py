"""Sends bad input between valid neighbours to a worker, and reads the result of each message."""

from __future__ import annotations

import base64
import json
import re
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

import redis

from sentq.contract import JobOutcome
from sentq.wire.dead_letters import DEAD_LETTERS_KEY, DeadLetter
from tests.corpus.expected import (
    ExpectDeadLetter,
    ExpectedResult,
    ExpectFailed,
    ExpectNothing,
    ExpectRevoked,
    ExpectScored,
)
from tests.corpus.messages import body_of, message, raw
from tests.support.celery.dead_letters import read_dead_letters
from tests.support.processes import WorkerProcess

__all__ = ["CorpusRunner", "ObservedResult", "job_id_of"]

#: The number of bad messages between two valid ones.
_BAD_PER_NEIGHBOUR: Final = 3

#: Of a message with more bytes, a dead letter may hold the beginning and the end only.
_TRUNCATED_BYTES: Final = 64 * 1024

#: As Celery and kombu write it.
_CORRELATION_ID: Final = re.compile(r'"correlation_id": ?"([^"]+)"')

_ENDED: Final = {"SUCCESS", "FAILURE", "REVOKED"}


@dataclass(frozen=True)
class ObservedResult:
    """The dead letters and the stored result of a message."""

    dead_letters: list[DeadLetter] = field(default_factory=list)
    result: dict[str, Any] | None = None

    @property
    def is_typed(self) -> bool:
        """Whether the message has an outcome, an error or a dead letter."""
        return bool(self.dead_letters) or (self.result or {}).get("status") in _ENDED

    def mismatch(self, expected: ExpectedResult) -> str | None:
        """Return the difference from the expected result, or None."""
        match expected:
            case ExpectDeadLetter(reason):
                is_right = [
                    reason in each.reason and each.queue == "sentq" and bool(each.worker)
                    for each in self.dead_letters
                ] == [True]
            case ExpectScored(codes):
                is_right = not self.dead_letters and self._codes == list(codes)
            case ExpectFailed(error):
                is_right = not self.dead_letters and self.error == error.__name__
            case ExpectRevoked():
                is_right = not self.dead_letters and self._status == "REVOKED"
            case ExpectNothing():
                is_right = not self.dead_letters and self.result is None
        if is_right:
            return None
        reasons = [each.reason for each in self.dead_letters]
        return f"expected {expected}; dead letters {reasons}, result {str(self.result)[:500]}"

    @property
    def _status(self) -> str | None:
        return (self.result or {}).get("status")

    @property
    def error(self) -> str | None:
        """The class of the job's error; None if it did not fail."""
        if self.result is None or self._status != "FAILURE":
            return None
        kind: str = self.result["result"]["exc_type"]
        return kind

    @property
    def _codes(self) -> list[str | None] | None:
        if self._status != "SUCCESS" or self.result is None:
            return None
        outcomes = JobOutcome.model_validate(self.result["result"]).outcomes
        return [getattr(outcome, "code", None) for outcome in outcomes]


class CorpusRunner:
    """Sends messages to one worker, and reads their results."""

    def __init__(self, client: redis.Redis, worker: WorkerProcess) -> None:
        self._redis = client
        self._worker = worker

    def run(self, messages: Sequence[bytes], *, within_s: float = 60) -> list[ObservedResult]:
        """Send messages with valid neighbours in between, and wait until none is left.

        Returns:
            The result of each message, in order.

        Raises:
            AssertionError: The worker ended or was too slow, a neighbour was not scored, or a
                dead letter belongs to none of the messages.
        """
        neighbours = [
            raw(message(body_of(f"neighbour {n}"))) for n in range(1 + len(messages) // 3)
        ]
        mixed: list[bytes] = []
        for number, each in enumerate(messages):
            if number % _BAD_PER_NEIGHBOUR == 0:
                mixed.append(neighbours[number // _BAD_PER_NEIGHBOUR])
            mixed.append(each)
        mixed.append(neighbours[-1])
        with self._redis.pipeline() as pipe:
            for each in mixed:
                pipe.lpush("sentq", each)
            pipe.execute()
        self._wait_until_settled(within_s)
        by_fingerprint: defaultdict[str, list[DeadLetter]] = defaultdict(list)
        for dead_letter in read_dead_letters(self._redis):
            by_fingerprint[_fingerprint(dead_letter.message)].append(dead_letter)
        self._redis.delete(DEAD_LETTERS_KEY)
        failed = [n for n in map(self._result_of, neighbours) if n.mismatch(ExpectScored())]
        assert not failed, f"{len(failed)} neighbours without an outcome: {failed[:3]}"
        results = []
        remaining = Counter(map(_fingerprint, messages))
        for each in messages:
            fingerprint = _fingerprint(each)
            remaining[fingerprint] -= 1
            dead_letters = by_fingerprint.pop(fingerprint, [])
            if remaining[fingerprint]:  # Each of several identical messages has one dead letter.
                by_fingerprint[fingerprint] = dead_letters[1:]
                dead_letters = dead_letters[:1]
            results.append(ObservedResult(dead_letters, self._result_of(each).result))
        assert not by_fingerprint, (
            f"dead letters of no message: {list(by_fingerprint.values())[:3]}"
        )
        return results

    def _result_of(self, each: bytes) -> ObservedResult:
        job_id = job_id_of(each)
        if job_id is None:
            return ObservedResult()
        key = f"celery-task-meta-{job_id}".encode(errors="surrogatepass")
        document = cast("bytes | None", self._redis.get(key))
        return ObservedResult(result=None if document is None else json.loads(document))

    def _wait_until_settled(self, within_s: float) -> None:
        deadline = time.monotonic() + within_s
        while True:
            assert self._worker.process.poll() is None, self._diagnosis()
            with self._redis.pipeline() as pipe:
                pipe.llen("sentq")
                pipe.hlen("unacked")
                pipe.zcard("unacked_index")
                left = pipe.execute()
            if not any(left):
                return
            assert time.monotonic() < deadline, f"left in queue and unacked: {left}: " + (
                self._diagnosis()
            )
            time.sleep(0.05)

    def _diagnosis(self) -> str:
        unacked = cast("dict[bytes, bytes]", self._redis.hgetall("unacked"))
        return (
            f"unacked: {[each[:500] for each in unacked.values()][:5]}\n{self._worker.log[-3000:]}"
        )


def job_id_of(each: bytes) -> str | None:
    """Return the id under which a message's result is stored; None if it has none."""
    try:
        whole = json.loads(each)
        job_id = whole["headers"].get("id")
        if "task" not in whole["headers"]:  # Protocol 1 has it in the body.
            job_id = json.loads(base64.b64decode(whole["body"]))["id"]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    return job_id if isinstance(job_id, str) else None


def _fingerprint(each: bytes) -> str:
    """Return what a message and its dead letter have in common, if their JSON differs."""
    if len(each) > _TRUNCATED_BYTES:
        each = each[:1024] + b"\n...\n" + each[-3072:]
    text = each.decode("utf-8", "replace")
    if "\n...\n" in text and (found := _CORRELATION_ID.findall(text)):
        return str(found[-1])
    try:
        # The worker writes an integer beyond 64 bits as a float, as most readers of JSON do.
        whole = json.loads(text, parse_int=float)
        headers = whole["headers"]
        # Generated messages may differ in the task alone: one is a job, the other is not.
        names = (whole["properties"].get("correlation_id"), headers.get("id"), headers.get("task"))
        return json.dumps([*names, whole["body"]])
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return text
