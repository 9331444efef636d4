"""Puts bad input and good neighbours into a queue, and sees how each of them ended."""

from __future__ import annotations

import base64
import json
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

import redis

from sentq.contract import JobOutcome
from sentq.wire.dead_letters import DEAD_LETTERS_KEY, DeadLetter
from tests.corpus.cases import (
    ExpectDeadLetter,
    ExpectedResult,
    ExpectFailed,
    ExpectNothing,
    ExpectRevoked,
    ExpectScored,
)
from tests.corpus.envelopes import body_of, message, raw
from tests.support.dead_letters import read_letters
from tests.support.processes import WorkerProcess

__all__ = ["Fate", "Trial", "job_id_of"]

#: After so many bad ones comes a good one.
_BAD_A_NEIGHBOUR: Final = 3

_ENDED: Final = {"SUCCESS", "FAILURE", "REVOKED"}


@dataclass(frozen=True)
class Fate:
    """What became of a message."""

    letters: list[DeadLetter] = field(default_factory=list)
    result: dict[str, Any] | None = None

    @property
    def is_typed(self) -> bool:
        """Whether there is an outcome, an error or a dead letter."""
        return bool(self.letters) or (self.result or {}).get("status") in _ENDED

    def mismatch(self, expected: ExpectedResult) -> str | None:
        """What differs from how it should have ended; None if nothing does."""
        match expected:
            case ExpectDeadLetter(reason):
                is_right = [
                    reason in letter.reason and letter.queue == "sentq" and bool(letter.worker)
                    for letter in self.letters
                ] == [True]
            case ExpectScored(codes):
                is_right = not self.letters and self._codes == list(codes)
            case ExpectFailed(error):
                is_right = not self.letters and self.error == error.__name__
            case ExpectRevoked():
                is_right = not self.letters and self._status == "REVOKED"
            case ExpectNothing():
                is_right = not self.letters and self.result is None
        if is_right:
            return None
        reasons = [letter.reason for letter in self.letters]
        return f"expected {expected}; dead letters {reasons}, result {str(self.result)[:500]}"

    @property
    def _status(self) -> str | None:
        return (self.result or {}).get("status")

    @property
    def error(self) -> str | None:
        """The class of the job's error, if it failed."""
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


class Trial:
    """One worker, and all that is put before it."""

    def __init__(self, client: redis.Redis, worker: WorkerProcess) -> None:
        self._redis = client
        self._worker = worker

    def run(self, messages: Sequence[bytes], *, within_s: float = 60) -> list[Fate]:
        """Send messages with good neighbours in between, and wait until nothing is left.

        Returns:
            The fate of each, in order.

        Raises:
            AssertionError: The worker ended, or did not get through in time, or a neighbour was
                not answered, or a dead letter is nobody's.
        """
        neighbours = [
            raw(message(body_of(f"neighbour {n}"))) for n in range(1 + len(messages) // 3)
        ]
        mixed: list[bytes] = []
        for number, each in enumerate(messages):
            if number % _BAD_A_NEIGHBOUR == 0:
                mixed.append(neighbours[number // _BAD_A_NEIGHBOUR])
            mixed.append(each)
        mixed.append(neighbours[-1])
        with self._redis.pipeline() as pipe:
            for each in mixed:
                pipe.lpush("sentq", each)
            pipe.execute()
        self._wait_until_settled(within_s)
        by_fingerprint: defaultdict[str, list[DeadLetter]] = defaultdict(list)
        for letter in read_letters(self._redis):
            by_fingerprint[_fingerprint(letter.message)].append(letter)
        self._redis.delete(DEAD_LETTERS_KEY)
        unanswered = [n for n in map(self._fate, neighbours) if n.mismatch(ExpectScored())]
        assert not unanswered, f"{len(unanswered)} neighbours without an answer: {unanswered[:3]}"
        fates = []
        alike = Counter(map(_fingerprint, messages))
        for each in messages:
            known_by = _fingerprint(each)
            alike[known_by] -= 1
            letters = by_fingerprint.pop(known_by, [])
            if alike[known_by]:  # Each of those that nobody can tell apart has one.
                by_fingerprint[known_by] = letters[1:]
                letters = letters[:1]
            fates.append(Fate(letters, self._fate(each).result))
        assert not by_fingerprint, f"dead letters of nobody: {list(by_fingerprint.values())[:3]}"
        return fates

    def _fate(self, each: bytes) -> Fate:
        job_id = job_id_of(each)
        if job_id is None:
            return Fate()
        key = f"celery-task-meta-{job_id}".encode(errors="surrogatepass")
        document = cast("bytes | None", self._redis.get(key))
        return Fate(result=None if document is None else json.loads(document))

    def _wait_until_settled(self, within_s: float) -> None:
        deadline = time.monotonic() + within_s
        while True:
            assert self._worker.process.poll() is None, self._last_words()
            with self._redis.pipeline() as pipe:
                pipe.llen("sentq")
                pipe.hlen("unacked")
                pipe.zcard("unacked_index")
                left = pipe.execute()
            if not any(left):
                return
            assert time.monotonic() < deadline, f"left in queue and unacked: {left}: " + (
                self._last_words()
            )
            time.sleep(0.05)

    def _last_words(self) -> str:
        held = cast("dict[bytes, bytes]", self._redis.hgetall("unacked"))
        return f"held: {[each[:500] for each in held.values()][:5]}\n{self._worker.log[-3000:]}"


def job_id_of(each: bytes) -> str | None:
    """The id under which a message's outcome would be found, if it has one."""
    try:
        whole = json.loads(each)
        job_id = whole["headers"].get("id")
        if "task" not in whole["headers"]:  # Celery's first protocol says it in the body.
            job_id = json.loads(base64.b64decode(whole["body"]))["id"]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    return job_id if isinstance(job_id, str) else None


def _fingerprint(each: bytes) -> str:
    """What a message is known by in a dead letter, which may be written anew."""
    text = each.decode("utf-8", "replace")
    try:
        # Written anew, an integer beyond 64 bits is a float, as most readers of JSON have it.
        whole = json.loads(text, parse_int=float)
        ids = (whole["properties"].get("correlation_id"), whole["headers"].get("id"))
        return json.dumps([*ids, whole["body"]])
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return text
