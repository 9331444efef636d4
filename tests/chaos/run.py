"""A whole run: start the processes, inject the schedule, wait for the last results, and audit."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.chaos.audit import Audit, IsRight, audit, is_hashed, settle
from tests.chaos.faults import inject
from tests.chaos.schedule import draw
from tests.chaos.site import ChaosSite, WorkerKind

__all__ = ["ChaosRun", "Plan", "run"]

_PRODUCERS: Final = 2


@dataclass(frozen=True)
class Plan:
    """The numbers of jobs and faults of a run. All random choices follow from `seed`."""

    seed: int
    jobs: int
    duration_s: float
    kills: int
    redis_kills: int
    network_faults: int
    terms: int = 4
    workers: int = 3
    visibility_timeout_s: int = 5
    #: After this time without a change, the remaining jobs count as lost.
    patience_s: float = 60.0


@dataclass(frozen=True)
class ChaosRun:
    """The audit of a run, and its duration."""

    plan: Plan
    audit: Audit
    took_s: float
    exit_codes: list[int]

    @property
    def figures(self) -> dict[str, Any]:
        """The figures to print."""
        return vars(self.plan) | self.audit.figures | {"took_s": round(self.took_s, 1)}


def run(
    plan: Plan,
    worker_kind: WorkerKind,
    folder: Path,
    *,
    is_right: IsRight = is_hashed,
    say: Callable[[str], None] = lambda _: None,
) -> ChaosRun:
    """Run a plan in an empty folder.

    Args:
        plan: The numbers of jobs and faults.
        worker_kind: The kind of worker to run.
        folder: Where logs and records are kept.
        is_right: Checks the outcome of a text.
        say: Called with a line of progress at each stage.

    Raises:
        RuntimeError: A producer failed.
    """
    started = time.monotonic()
    schedule = draw(
        plan.seed,
        duration_s=plan.duration_s,
        workers=plan.workers,
        producers=_PRODUCERS,
        kills=plan.kills,
        terms=plan.terms,
        redis_kills=plan.redis_kills,
        network_faults=plan.network_faults,
    )
    orders = [
        {
            "name": f"producer{number}",
            "jobs": plan.jobs // _PRODUCERS,
            "duration_s": plan.duration_s,
            "seed": plan.seed * _PRODUCERS + number,
            "has_keys": number == 0,
        }
        for number in range(_PRODUCERS)
    ]
    with ChaosSite(
        folder,
        worker_kind,
        workers=plan.workers,
        producers=orders,
        visibility_timeout_s=plan.visibility_timeout_s,
    ) as site:
        site.start_producers()
        done = inject(site, schedule, say=say)
        say("the schedule is over")
        for producer, order in zip(site.producers, site.orders, strict=True):
            code = producer.wait(plan.duration_s * 10 + 600)
            if code:
                log = (folder / f"{order.name}.log").read_text()
                raise RuntimeError(f"a producer ended with exit code {code}: {log}")
        say("all jobs are accepted")
        settle(site, within_s=plan.patience_s, quiet_s=plan.visibility_timeout_s + 1)
        say("no job is left")
        found = audit(site, done, is_right=is_right)
        codes = site.stop_workers()
    return ChaosRun(plan, found, time.monotonic() - started, codes)
