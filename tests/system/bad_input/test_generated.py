"""Thousands of generated messages for one worker: each gets a result, and the worker continues."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.corpus.generated import INPUTS, SEED, examples, messages
from tests.corpus.runner import CorpusRunner, ObservedResult, job_id_of
from tests.support.logs import register_log
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
def test_each_generated_message_ends_in_an_outcome_or_a_dead_letter(
    runner: CorpusRunner, tmp_path: Path
) -> None:
    generated = examples(messages, INPUTS)
    inputs = register_log(tmp_path / f"inputs-of-seed-{SEED}.txt")
    for first in range(0, len(generated), STEP):
        messages_of_step = generated[first : first + STEP]
        inputs.write_text("\n".join(map(repr, messages_of_step)))
        assert _lost(messages_of_step, runner.run(messages_of_step)) == []


def _lost(sent: Sequence[bytes], results: Sequence[ObservedResult]) -> list[bytes]:
    """Return the messages with neither a result nor a dead letter whose jobs request a result.

    Hypothesis repeats messages with one value changed. If two in flight have the same job id, the
    worker scores the job once, and the first message decides whether its result is stored.
    """
    ignored = {job_id_of(each) for each in sent if _ignores_result(each)} - {None}
    return [
        each
        for each, result in zip(sent, results, strict=True)
        if not result.is_typed and not _ignores_result(each) and job_id_of(each) not in ignored
    ]


def _ignores_result(raw: bytes) -> bool:
    try:
        return bool(json.loads(raw)["headers"].get("ignore_result"))
    except (ValueError, LookupError, TypeError, AttributeError):
        return False
