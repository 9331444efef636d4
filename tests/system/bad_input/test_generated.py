"""Thousands of generated messages go to one worker: each ends somehow, and the worker goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from sentq.dev.embedded import find_redis_server
from tests.corpus.generated import INPUTS, examples, messages
from tests.corpus.trial import Fate, Trial
from tests.support.processes import RedisProcess, WorkerProcess, worker_environment

pytestmark = pytest.mark.slow

#: So many are sent together.
STEP = 500


@pytest.fixture
def trial(tmp_path: Path, tiny_model: Path) -> Iterator[Trial]:
    server = RedisProcess(find_redis_server(), tmp_path).start()
    worker = WorkerProcess(tmp_path, worker_environment(server.url, tiny_model))
    try:
        worker.wait_until_ready()
        with server.client() as client:
            yield Trial(client, worker)
        assert worker.log.count(" ready.") == 1
        assert worker.stop() == 0
    finally:
        worker.stop()
        server.stop()


@pytest.mark.timeout(900)
def test_each_generated_message_ends_in_an_outcome_or_a_dead_letter(trial: Trial) -> None:
    generated = examples(messages, INPUTS)
    for first in range(0, len(generated), STEP):
        some = generated[first : first + STEP]
        fates = trial.run(some)
        lost = [each for each, fate in zip(some, fates, strict=True) if _is_lost(each, fate)]
        assert lost == []


def _is_lost(raw: bytes, fate: Fate) -> bool:
    """Whether there is neither an outcome nor a dead letter, though somebody wants one."""
    return not fate.is_typed and not _ignores_result(raw)


def _ignores_result(raw: bytes) -> bool:
    try:
        return bool(json.loads(raw)["headers"].get("ignore_result"))
    except (ValueError, LookupError, TypeError, AttributeError):
        return False
