"""What is lost when everything breaks, for as long as you like: sentq, and stock Celery beside it.

    python -m benchmarks.chaos [--json] [--report FILE] [--jobs N] [--minutes N] [--seed N] …

Workers are killed, Redis is killed, connections are cut, reset, half-open, frozen, slow and torn,
by a schedule that follows from the seed. `tests.chaos` says how, and counts. Stock Celery
acknowledges late, rejects what a lost worker held, has time-outs as short as ours, and goes
through the same schedule with fewer jobs, for it does fewer; its jobs too are sent by sentq's
client. Afterwards ours has one fault at a time, with nothing else in its way, and one worker of
ours shows what it keeps of the jobs that it has done.
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
from sentq.dev.embedded import find_redis_server
from tests.chaos.recovery import after_half_open_s, after_kill_s, after_redis_s
from tests.chaos.run import Plan, run
from tests.chaos.site import SENTQ, STOCK, ChaosSite, WorkerKind

#: How long a round of ours takes: so long that many faults find one in the engine. Stock Celery
#: runs one job at a time; with a delay for each it would not come through.
_TEAMS: Final = {
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


#: What is measured of faults that come alone, with how many workers.
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
    """ChaosRun both, and print the table or one JSON object."""
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
    found: dict[str, dict[str, Any]] = {"sentq": _figures(plan, _TEAMS["sentq"], say)}
    if options.stock_jobs:
        theirs = replace(plan, jobs=options.stock_jobs)
        found["stock"] = _figures(theirs, _TEAMS["stock"], say)
    if options.alone:
        found["alone"] = _alone(options.alone, say)
    if options.slope_jobs:
        found["slope"] = slope.measure(options.slope_jobs, say)
    if options.report:
        options.report.write_text(_report(found))
    print(json.dumps(found) if options.json else _table(found))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    add = parser.add_argument
    add("--json", action="store_true", help="print one JSON object")
    add("--report", type=Path, metavar="FILE", help="also write a report in Markdown")
    add("--seed", type=int, default=1, help="what the schedule follows from (%(default)s)")
    add("--minutes", type=float, default=40, help="what it is spread over (%(default)s)")
    add("--jobs", type=int, default=1_000_000, help="jobs for sentq (%(default)s)")
    add("--stock-jobs", type=int, default=50_000, help="for stock Celery; 0: none (%(default)s)")
    add("--slope-jobs", type=int, default=2_000_000, help="for memory; 0: none (%(default)s)")
    add("--alone", type=int, default=30, help="faults of a kind, one at a time (%(default)s)")
    add("--kills", type=int, default=300, help="kill -9 of a worker (%(default)s)")
    add("--redis-kills", type=int, default=50, help="kill -9 of Redis (%(default)s)")
    add("--network-faults", type=int, default=200, help="of all kinds (%(default)s)")
    add("--terms", type=int, default=40, help="SIGTERM to a worker (%(default)s)")
    add("--workers", type=int, default=3, help="side by side (%(default)s)")
    return parser.parse_args()


def _figures(plan: Plan, team: WorkerKind, say: Callable[[str], None]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        result = run(plan, team, Path(folder), say=lambda line: say(f"{team.name}: {line}"))
    for said in result.audit.unexpected_exits:
        say(f"{team.name}: a worker ended by itself: {said}")
    figures = result.figures
    twice = figures.pop("executed_twice")
    for cause in ("network", "redis", "term", "nothing"):
        figures[f"executed_twice_{cause}"] = twice.get(cause, 0)
    say(f"{team.name}: {json.dumps(figures)}")  # The rest may take hours, and be interrupted.
    return figures


def _alone(times: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Each kind of fault so often, with nothing else in its way."""
    figures: dict[str, Any] = {"faults_of_a_kind": times}
    for name, workers, after_s in _ALONE:
        with (
            tempfile.TemporaryDirectory() as folder,
            ChaosSite(
                Path(folder),
                _TEAMS["sentq"],
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
    teams = {name: found[name] for name in _TEAMS if name in found}
    lines = [
        f"| | {' | '.join({'stock': 'stock Celery'}.get(name, name) for name in teams)} |",
        "|---|" + "---:|" * len(teams),
    ]
    for key, words in _ROWS:
        lines.append(f"| {words} | {' | '.join(_shown(each[key]) for each in teams.values())} |")
    return "\n".join(lines)


def _shown(value: float | None) -> str:
    return "none" if value is None else f"{value:,}"


def _report(found: Mapping[str, Mapping[str, Any]]) -> str:
    ours = found["sentq"]
    faults = ", ".join(f"{count} {kind}" for kind, count in sorted(ours["faults"].items()))
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
        f"{ours['workers']} workers, a visibility timeout of {ours['visibility_timeout_s']} s. "
        f"Faults: {faults}."
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


def _rows(words: Mapping[str, str], figures: Mapping[str, float | None]) -> str:
    lines = [f"| {words[name]} | {_shown(figure)} |" for name, figure in figures.items()]
    return "\n".join(["| | |", "|---|---:|", *lines])


def _arguments() -> list[str]:
    """The command's arguments, but for where the report goes."""
    given = sys.argv[1:]
    while "--report" in given:
        at = given.index("--report")
        del given[at : at + 2]
    return [each for each in given if not each.startswith("--report=")]


if __name__ == "__main__":
    main()
