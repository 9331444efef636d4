"""A model is rolled under load: it takes a share of the jobs, is promoted, and rolled back.

    python -m benchmarks.lifecycle.roll [--json] [--jobs N] [--rate N] [--workers N] [--canary N]

Workers with one thread each and the bundled model score jobs of one short text, which are sent at a
steady rate: first with one model, then as many again while a second model is rolled. That one is
the bundled model with other biases, so that its labels differ. Without `--rate` the jobs come at
half the rate that the workers reach with a backlog.

The second run has five phases of as many jobs: one model, a candidate with a share, promoted,
rolled back, a candidate that is taken away. A phase is settled from when all workers report that
they follow until the next change. A job that is sent and scored in this time must have the model
that its id asks for; each job must have a label that its model gives the text. Waiting is from
sending a job until its batch was computed. Memory is the largest resident set of a worker.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Final, NamedTuple

import sentq_model
from benchmarks.figures import argument_parser, show
from benchmarks.texts import make_texts
from benchmarks.turns import timed
from sentq import Client, JobOutcome, Prediction
from sentq.dev.embedded import find_redis_server
from sentq.wire.roll.report import RollStage
from sentq.wire.roll.state import RollState
from sentq_worker import Scorer
from sentq_worker.inference.memory import weights_bytes
from tests.support.processes import RedisProcess, WorkerProcess

#: The name of the second model in the settings, and how far the bias of "neutral" is moved.
_SECOND: Final = "second"
_BIAS: Final = 1.0

#: How often jobs are sent, and how often workers are asked how far they are, in seconds.
_TICK_S: Final = 0.05
_POLL_S: Final = 0.5

#: How long after the last job memory and states are looked at, in seconds.
_SETTLE_S: Final = 10.0

#: The different texts, and their length at most.
_TEXTS: Final = 500
_MAX_CHARS: Final = 200

_WARM_UP_JOBS: Final = 2_000
_TIMEOUT_S: Final = 900

_PHASES: Final = ("before", "canary", "promoted", "rolled_back", "canary_again")


class PacedJob(NamedTuple):
    """A job, its text, and when it was sent, in Unix seconds."""

    id: str
    text: str
    at_s: float


@dataclass
class SettledTime:
    """A time in which all workers followed a state, in Unix seconds."""

    state: RollState
    from_s: float = float("inf")
    until_s: float = float("inf")

    def contains(self, job: PacedJob, outcome: JobOutcome) -> bool:
        """Return whether a job was sent and scored in it."""
        return self.from_s <= job.at_s and job.at_s + _wait_s(outcome) < self.until_s


@dataclass
class Operator:
    """Changes what serves, at given numbers of jobs, and records when all workers have followed."""

    client: Client
    changes: dict[int, Callable[[], object]]
    times: list[SettledTime] = field(default_factory=list)
    _asked_at: float = 0.0

    def look(self, sent: int) -> None:
        """Do what is due after so many jobs. Called again and again."""
        due = [number for number in self.changes if number <= sent]
        for number in due:
            if self.times:
                self.times[-1].until_s = time.time()
            self.changes.pop(number)()
            self.times.append(SettledTime(self.client.models.status().state))
        if time.monotonic() < self._asked_at + _POLL_S or not self.times:
            return
        self._asked_at = time.monotonic()
        settled = self.times[-1]
        if settled.from_s == float("inf"):
            stages = self.client.models.status().stages().values()
            if RollStage.FAILED in stages:
                raise RuntimeError("a worker cannot load the second model")
            if set(stages) == {RollStage.READY}:
                settled.from_s = time.time()


class MemoryWatch:
    """Watches the resident sets of workers."""

    def __init__(self, workers: Sequence[WorkerProcess]) -> None:
        self._pids = [worker.process.pid for worker in workers]
        self.peak_mb = 0.0
        self._ends = threading.Event()

    def now_mb(self) -> float:
        """Return the memory of the largest worker."""
        return max(map(_resident_mb, self._pids))

    @contextmanager
    def running(self) -> Iterator[None]:
        """Keep the largest value in the block in `peak_mb`."""
        thread = threading.Thread(target=self._run)
        thread.start()
        try:
            yield
        finally:
            self._ends.set()
            thread.join()

    def _run(self) -> None:
        while not self._ends.wait(_TICK_S):
            self.peak_mb = max(self.peak_mb, self.now_mb())


def make_second_model(folder: Path) -> Path:
    """Write the bundled model with another bias."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(sentq_model.folder(), folder)
    weights = load_file(folder / "model.safetensors")
    weights["classifier.bias"][1] += _BIAS
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def send_steadily(
    client: Client, texts: Sequence[str], *, rate: float, look: Callable[[int], object]
) -> list[PacedJob]:
    """Send texts in jobs of their own at a steady rate; call `look` with how many were sent."""
    sent: list[PacedJob] = []
    began = time.monotonic()
    while len(sent) < len(texts):
        due = min(len(texts), int((time.monotonic() - began) * rate) + 1)
        if some := texts[len(sent) : due]:
            at_s = time.time()
            sent += [
                PacedJob(job.id, text, at_s)
                for job, text in zip(client.submit_many(some), some, strict=True)
            ]
        look(len(sent))
        time.sleep(_TICK_S)
    return sent


def labels_of(model: Path | str, texts: Sequence[str]) -> dict[str, str]:
    """Return the label that a model gives each text, scored here."""
    scorer = Scorer(model=str(model), dtype="float32")
    return {
        text: outcome.label
        for text, outcome in zip(texts, scorer.score(texts), strict=True)
        if isinstance(outcome, Prediction)
    }


def _wait_s(outcome: JobOutcome) -> float:
    return ((outcome.queued_ms or 0.0) + outcome.inference_ms) / 1000


def _resident_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024 / 1e6


class ScoredRun(NamedTuple):
    """A run at a steady rate: its jobs, and their outcomes in the same order; None if lost."""

    jobs: list[PacedJob]
    outcomes: list[JobOutcome | None]

    @property
    def figures(self) -> dict[str, float]:
        """How many jobs are lost, and how long the others waited, in seconds."""
        waits_s = sorted(_wait_s(each) for each in self.outcomes if each is not None)
        return {
            "lost": self.outcomes.count(None),
            "p50_s": round(waits_s[len(waits_s) // 2], 3),
            "p99_s": round(waits_s[len(waits_s) * 99 // 100], 3),
            "longest_s": round(waits_s[-1], 3),
        }


def run_steadily(
    client: Client, texts: Sequence[str], *, rate: float, look: Callable[[int], object]
) -> ScoredRun:
    """Send texts at a steady rate, and wait for the outcomes of all."""
    jobs = send_steadily(client, texts, rate=rate, look=look)
    results = client.results([job.id for job in jobs], timeout=_TIMEOUT_S)
    return ScoredRun(jobs, [each if isinstance(each, JobOutcome) else None for each in results])


def check_answers(
    run: ScoredRun, times: Sequence[SettledTime], labels: Mapping[str, Mapping[str, str]]
) -> dict[str, object]:
    """Return how many jobs had which model, in the settled time of each phase, and how many had
    another model, or another label, than expected.

    Args:
        run: The jobs and their outcomes.
        times: When which state was settled.
        labels: The labels of texts by the model's name in outcomes.
    """
    seen: dict[str, Counter[str]] = {phase: Counter() for phase in _PHASES}
    wrong: Counter[str] = Counter()
    for job, outcome in zip(*run, strict=True):
        if outcome is None:
            continue
        (answer,) = outcome.outcomes
        is_right = (
            isinstance(answer, Prediction) and answer.label == labels[outcome.model][job.text]
        )
        wrong["labels"] += not is_right
        for phase, settled in zip(_PHASES, times, strict=True):
            if settled.contains(job, outcome):
                seen[phase][outcome.model] += 1
                state = settled.state
                name = state.models[state.takes(job.id)]
                wrong["models"] += (outcome.model == _SECOND) != (name == _SECOND)
    shares = {
        f"{phase}, second of settled": f"{counts[_SECOND]} of {counts.total()}"
        for phase, counts in seen.items()
    }
    return shares | {"wrong_models": wrong["models"], "wrong_labels": wrong["labels"]}


def measure(
    client: Client, workers: Sequence[WorkerProcess], options: argparse.Namespace, second: Path
) -> dict[str, object]:
    """Return the figures of both runs."""
    distinct = [text for text in make_texts(2 * _TEXTS) if len(text) < _MAX_CHARS][:_TEXTS]
    labels = {
        client.models.status().workers[0].model or "": labels_of(sentq_model.folder(), distinct),
        _SECOND: labels_of(second, distinct),
    }
    texts = list(islice(cycle(distinct), options.jobs))
    few = list(islice(cycle(distinct), _WARM_UP_JOBS))
    warm_up_s, _ = timed(lambda _: list(client.map(few, texts_per_job=1, timeout=_TIMEOUT_S)), few)
    rate = options.rate or len(few) / warm_up_s / 2
    memory = MemoryWatch(workers)
    one_model = run_steadily(client, texts, rate=rate, look=lambda _: None)
    one_model_mb = memory.now_mb()
    models, phase_jobs = client.models, len(texts) // len(_PHASES)
    changes = (
        lambda: None,
        lambda: models.roll(_SECOND, share=options.canary),
        models.promote,
        models.rollback,
        lambda: models.roll(_SECOND, share=options.canary),
        models.rollback,
    )
    last = len(texts) - phase_jobs // 4
    numbers = [*(phase_jobs * n for n in range(len(_PHASES))), last]
    operator = Operator(client, dict(zip(numbers, changes, strict=True)))
    with memory.running():
        rolled = run_steadily(client, texts, rate=rate, look=operator.look)
    time.sleep(_SETTLE_S)
    operator.times[-1].until_s = time.time()
    loading_s = [each.from_s - each.state.changed_at_s for each in operator.times[1:]]
    return {
        "jobs": len(texts),
        "workers": len(workers),
        "rate_jobs_per_s": round(rate, 1),
        **{f"one_model_{name}": value for name, value in one_model.figures.items()},
        **{f"rolled_{name}": value for name, value in rolled.figures.items()},
        **check_answers(rolled, operator.times[: len(_PHASES)], labels),
        "settled_after_s": [round(each, 1) for each in loading_s],
        "weights_mb": round(weights_bytes(second, "float32") / 1e6, 1),
        "one_model_mb": round(one_model_mb, 1),
        "peak_mb": round(memory.peak_mb, 1),
        "after_mb": round(memory.now_mb(), 1),
    }


def main() -> None:
    """Print the figures: one per line, or one JSON object."""
    parser = argument_parser(__doc__)
    parser.add_argument("--jobs", type=int, default=20_000, help="jobs of each run (%(default)s)")
    parser.add_argument("--rate", type=float, help="jobs a second (default: half of what they do)")
    parser.add_argument("--workers", type=int, default=2, help="workers (%(default)s)")
    parser.add_argument("--canary", type=float, default=0.1, help="the share (%(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        second = make_second_model(Path(folder) / _SECOND)
        server = RedisProcess(find_redis_server(), Path(folder), "--appendonly", "no").start()
        stack.callback(server.stop)
        models = {_SECOND: {"model": str(second), "load": "on_roll"}}
        environment = {
            "SENTQ_BROKER_URL": server.url,
            "SENTQ_WORKER_DEVICE": "cpu",
            "SENTQ_WORKER_DTYPE": "float32",
            "SENTQ_WORKER_THREADS": "1",
            "SENTQ_WORKER_MODELS": json.dumps(models),
        }
        workers = []
        for _ in range(options.workers):
            workers.append(WorkerProcess(Path(folder), environment))
            stack.callback(workers[-1].stop)
        for worker in workers:
            worker.wait_until_ready()
        with Client(broker_url=server.url) as client:
            figures = measure(client, workers, options, second)
    show(figures, as_json=options.json)


if __name__ == "__main__":
    main()
