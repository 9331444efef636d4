"""Thousands of generated messages for one worker: each gets a result, and the worker continues."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.corpus.generated import INPUTS, examples, messages
from tests.corpus.runner import CorpusRunner, ObservedResult
from tests.support.missing import redis_program
from tests.support.processes import RedisProcess, WorkerProcess, worker_environment

pytestmark = pytest.mark.slow

#: The number of messages that are sent together.
STEP = 500


@pytest.fixture
def runner(tmp_path: Path, tiny_model: Path) -> Iterator[CorpusRunner]:
    server = RedisProcess(redis_program(), tmp_path).start()
    worker = WorkerProcess(tmp_path, worker_environment(server.url, tiny_model))
    try:
        worker.wait_until_ready()
        with server.client() as client:
            yield CorpusRunner(client, worker)
        assert worker.log.count(" ready.") == 1
        assert worker.stop() == 0
    finally:
        worker.stop()
        server.stop()


@pytest.mark.timeout(900)
def test_each_generated_message_ends_in_an_outcome_or_a_dead_letter(runner: CorpusRunner) -> None:
    generated = examples(messages, INPUTS)
    for first in range(0, len(generated), STEP):
        messages_of_step = generated[first : first + STEP]
        results = runner.run(messages_of_step)
        lost = [
            each
            for each, result in zip(messages_of_step, results, strict=True)
            if _is_lost(each, result)
        ]
        assert lost == []


def _is_lost(raw: bytes, result: ObservedResult) -> bool:
    """Whether a message has neither a result nor a dead letter, although its job requests one."""
    return not result.is_typed and not _ignores_result(raw)


def _ignores_result(raw: bytes) -> bool:
    try:
        return bool(json.loads(raw)["headers"].get("ignore_result"))
    except (ValueError, LookupError, TypeError, AttributeError):
        return False
