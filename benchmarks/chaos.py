"""Jobs lost while workers, Redis and connections fail: sentq, and stock Celery beside it.

    python -m benchmarks.chaos [--json] [--report FILE] [--jobs N] [--minutes N] [--seed N] …

Workers and Redis are killed, and connections are cut, reset, half-open, frozen, slow and torn, by a
seeded schedule; `tests.chaos` injects the faults and counts. Stock Celery acknowledges late,
rejects the jobs of a lost worker, and has the same time-outs. It runs the same schedule with fewer
jobs, because it is slower; its jobs are also sent by sentq's client. Then sentq has one fault at a
time, and one worker is measured for growth by `benchmarks.slope`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from benchmarks import slope
from benchmarks.figures import argument_parser
from sentq.dev.embedded import find_redis_server
from tests.chaos.recovery import after_half_open_s, after_kill_s, after_redis_s
from tests.chaos.run import Plan, run
from tests.chaos.site import SENTQ, STOCK, ChaosSite, WorkerKind

#: The delay of a sentq batch, so long that many faults occur while a batch is in the engine. Stock
#: Celery runs one job at a time, and would not finish with a delay per job.
_WORKER_KINDS: Final = {
    "sentq": replace(SENTQ, environment={"STANDIN_DELAY_S": "0.02"}),
    "stock": STOCK,
}

_ROWS: Final[Sequence[tuple[str, str]]] = (
    ("accepted", "jobs accepted"),
    ("answered", "jobs with a result"),
    ("lost", "**lost**"),
    ("left_in_queues", "still queued or in flight when nothing changed any more"),
    ("failed", "ended as failed or as a dead letter"),
    ("wrong", "jobs with a wrong result"),
    ("answered_twice", "jobs with a second result"),
    ("executed_twice_per_kill", "executed twice, for each kill of a worker"),
    ("executed_twice_network", "executed twice after faults of the network, in all"),
    ("executed_twice_redis", "executed twice after kills of Redis, in all"),
    ("executed_twice_term", "executed twice after SIGTERM, in all"),
    ("executed_twice_nothing", "executed twice without a fault"),
    ("jobs_per_round", "jobs in a batch, mean"),
    ("after_kill_s_p50", "worker killed: all jobs in flight have results after, s, median"),
    ("after_kill_s_max", "the same, longest"),
    ("after_half_open_s_p50", "half-open connection: that worker continues after, s, median"),
    ("after_half_open_s_max", "the same, longest"),
    ("after_redis_s_p50", "Redis is back: the first new result after, s, median"),
    ("after_redis_s_max", "the same, longest"),
    ("unexpected_exits", "workers that exited without a signal"),
    ("took_s", "duration, s"),
)


#: The times that are measured with one fault at a time, and the number of workers.
_ALONE: Final[Sequence[tuple[str, int, Callable[[ChaosSite], float]]]] = (
    ("after_kill_s", 2, after_kill_s),
    ("after_half_open_s", 1, after_half_open_s),
    ("after_redis_s", 1, after_redis_s),
)

_ALONE_ROWS: Final = {
    "faults_of_a_kind": "faults of each kind",
    "after_kill_s_p50": "worker killed: all jobs, its own too, have results after, s, median",
    "after_kill_s_max": "the same, longest",
    "after_half_open_s_p50": "half-open connection: that worker continues after, s, median",
    "after_half_open_s_max": "the same, longest",
    "after_redis_s_p50": "Redis is back: a new job has its result after, s, median",
    "after_redis_s_max": "the same, longest",
}

_SLOPE_ROWS: Final = {
    "jobs": "jobs",
    "mib_at_the_start": "MiB at the start",
    "mib_after_warm_up": "MiB after warm up",
    "mib_at_the_end": "MiB at the end",
    "mb_per_100k_jobs": "MB per 100,000 jobs",
    "descriptors_before": "descriptors before",
    "descriptors_after": "descriptors after",
    "redis_keys_before": "keys in Redis before",
    "redis_keys_after": "keys in Redis after",
    "took_s": "duration, s",
}

_INTRODUCTION: Final = """# Chaos test: a million jobs while everything fails

`make chaos` starts real processes and breaks them by a seeded schedule. Then it accounts for every
job that a producer knew to be accepted. This is one run:"""

_HOW_TO_READ: Final = """Stock Celery has acks_late, reject_on_worker_lost, timeouts of 3 and 5 s,
restoring each second, the same seed and schedule, and fewer jobs. sentq's client sends them.

A job is *lost* if it has no result once every queue is empty, or nothing has changed for a minute.
A job that was *executed twice* is attributed to a kill if the first worker was killed before the
second one began. Other faults do not change that. The time after a kill ends when all jobs that
were in flight at that moment have results, further faults included. Jobs of the bulk queue are
left out, because they wait until the other queue is empty."""


_ALONE_INTRODUCTION: Final = """Each fault with no other one at the same time.
`tests/faults/test_chaos.py` checks limits: the visibility timeout and five seconds after a kill,
20 s after a half-open connection, 10 s after Redis is back."""


def main() -> None:
    """Run both, and print the table or one JSON object."""
    options = _options()
    started = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - started:7.1f} s  {line}", file=sys.stderr, flush=True)

    plan = Plan(
        seed=options.seed,
        jobs=options.jobs,
        duration_s=options.minutes * 60,
        kills=options.kills,
        redis_kills=options.redis_kills,
        network_faults=options.network_faults,
        terms=options.terms,
        workers=options.workers,
    )
    found: dict[str, dict[str, Any]] = {"sentq": _figures(plan, _WORKER_KINDS["sentq"], say)}
    if options.stock_jobs:
        stock_plan = replace(plan, jobs=options.stock_jobs)
        found["stock"] = _figures(stock_plan, _WORKER_KINDS["stock"], say)
    if options.alone:
        found["alone"] = _alone(options.alone, say)
    if options.slope_jobs:
        found["slope"] = slope.measure(options.slope_jobs, say)
    if options.report:
        options.report.write_text(_report(found))
    print(json.dumps(found) if options.json else _table(found))


def _options() -> argparse.Namespace:
    parser = argument_parser(__doc__)
    add = parser.add_argument
    add("--report", type=Path, metavar="FILE", help="also write a report in Markdown")
    add("--seed", type=int, default=1, help="seed of the schedule (%(default)s)")
    add("--minutes", type=float, default=40, help="duration of the schedule (%(default)s)")
    add("--jobs", type=int, default=1_000_000, help="jobs for sentq (%(default)s)")
    add(
        "--stock-jobs",
        type=int,
        default=50_000,
        help="jobs for stock Celery; 0: none (%(default)s)",
    )
    add(
        "--slope-jobs",
        type=int,
        default=2_000_000,
        help="jobs for the growth; 0: none (%(default)s)",
    )
    add("--alone", type=int, default=30, help="single faults per kind; 0: none (%(default)s)")
    add("--kills", type=int, default=300, help="SIGKILL to a worker (%(default)s)")
    add("--redis-kills", type=int, default=50, help="SIGKILL to Redis (%(default)s)")
    add("--network-faults", type=int, default=200, help="faults of the network (%(default)s)")
    add("--terms", type=int, default=40, help="SIGTERM to a worker (%(default)s)")
    add("--workers", type=int, default=3, help="concurrent workers (%(default)s)")
    return parser.parse_args()


def _figures(plan: Plan, kind: WorkerKind, say: Callable[[str], None]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        result = run(plan, kind, Path(folder), say=lambda line: say(f"{kind.name}: {line}"))
    for line in result.audit.unexpected_exits:
        say(f"{kind.name}: a worker exited unexpectedly: {line}")
    figures = result.figures
    twice = figures.pop("executed_twice")
    for cause in ("network", "redis", "term", "nothing"):
        figures[f"executed_twice_{cause}"] = twice.get(cause, 0)
    say(f"{kind.name}: {json.dumps(figures)}")  # The next parts may take hours, and be interrupted.
    return figures


def _alone(times: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure the recovery from single faults, `times` per kind."""
    figures: dict[str, Any] = {"faults_of_a_kind": times}
    for name, workers, after_s in _ALONE:
        with (
            tempfile.TemporaryDirectory() as folder,
            ChaosSite(
                Path(folder),
                _WORKER_KINDS["sentq"],
                workers=workers,
                producers=[],
                visibility_timeout_s=Plan.visibility_timeout_s,
            ) as site,
        ):
            taken_s = [after_s(site) for _ in range(times)]
        figures[f"{name}_p50"] = round(statistics.median(taken_s), 2)
        figures[f"{name}_max"] = round(max(taken_s), 2)
        say(f"alone: {name}: {figures[f'{name}_p50']} s, longest {figures[f'{name}_max']} s")
    return figures


def _table(found: Mapping[str, Mapping[str, Any]]) -> str:
    columns = {name: found[name] for name in _WORKER_KINDS if name in found}
    lines = [
        f"| | {' | '.join({'stock': 'stock Celery'}.get(name, name) for name in columns)} |",
        "|---|" + "---:|" * len(columns),
    ]
    for key, label in _ROWS:
        lines.append(f"| {label} | {' | '.join(_shown(each[key]) for each in columns.values())} |")
    return "\n".join(lines)


def _shown(value: float | None) -> str:
    return "none" if value is None else f"{value:,}"


def _report(found: Mapping[str, Mapping[str, Any]]) -> str:
    figures = found["sentq"]
    faults = ", ".join(f"{count} {kind}" for kind, count in sorted(figures["faults"].items()))
    server = (
        subprocess.run(
            [find_redis_server(), "--version"], capture_output=True, text=True, check=True
        )
        .stdout.split()[2]
        .removeprefix("v=")
    )
    versions = ", ".join(f"{name} {version(name)}" for name in ("celery", "kombu", "redis"))
    parts = [_INTRODUCTION, f"    python -m benchmarks.chaos {' '.join(_arguments())}"]
    parts.append(
        f"Python {platform.python_version()}, Redis {server} with `appendfsync always`, "
        f"{versions}, {os.cpu_count()} cores, which other work may have shared. "
        f"{figures['workers']} workers, a visibility timeout of "
        f"{figures['visibility_timeout_s']} s. Faults: {faults}."
    )
    parts += [_table(found), _HOW_TO_READ]
    if "alone" in found:
        parts += [
            "## One fault at a time",
            _ALONE_INTRODUCTION,
            _rows(_ALONE_ROWS, found["alone"]),
        ]
    if "slope" in found:
        parts += [
            "## Memory of a worker",
            "`python -m benchmarks.slope` measures this alone.",
            _rows(_SLOPE_ROWS, found["slope"]),
        ]
    return "\n\n".join(parts) + "\n"


def _rows(labels: Mapping[str, str], figures: Mapping[str, float | None]) -> str:
    lines = [f"| {labels[name]} | {_shown(figure)} |" for name, figure in figures.items()]
    return "\n".join(["| | |", "|---|---:|", *lines])


def _arguments() -> list[str]:
    """Return the arguments of the command, without the path of the report."""
    arguments = sys.argv[1:]
    while "--report" in arguments:
        at = arguments.index("--report")
        del arguments[at : at + 2]
    return [each for each in arguments if not each.startswith("--report=")]


if __name__ == "__main__":
    main()
