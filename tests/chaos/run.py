"""A whole run: start everything, break it by the schedule, let it settle, and look."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.chaos.audit import Audit, Is, audit, is_hashed, settle
from tests.chaos.faults import inflict
from tests.chaos.schedule import draw
from tests.chaos.site import ChaosSite, Team

__all__ = ["ChaosRun", "Plan", "run"]

_PRODUCERS: Final = 2


@dataclass(frozen=True)
class Plan:
    """How much of what. All that is left to chance follows from `seed`."""

    seed: int
    jobs: int
    duration_s: float
    kills: int
    redis_kills: int
    network_faults: int
    terms: int = 4
    workers: int = 3
    visibility_timeout_s: int = 5
    #: How long nothing may move before what is left counts as lost.
    patience_s: float = 60.0


@dataclass(frozen=True)
class ChaosRun:
    """What a run found, and how long it took."""

    plan: Plan
    audit: Audit
    took_s: float
    exit_codes: list[int]

    @property
    def figures(self) -> dict[str, Any]:
        """What can be printed."""
        return vars(self.plan) | self.audit.figures | {"took_s": round(self.took_s, 1)}


def run(
    plan: Plan,
    team: Team,
    folder: Path,
    *,
    is_right: Is = is_hashed,
    say: Callable[[str], None] = lambda _: None,
) -> ChaosRun:
    """ChaosRun a plan in an empty folder.

    Args:
        plan: What to do.
        team: Whom to do it to.
        folder: Where everything is left, for whoever wants to see more.
        is_right: Judges the outcome of a text.
        say: Is told how far it is.
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
        team,
        workers=plan.workers,
        producers=orders,
        visibility_timeout_s=plan.visibility_timeout_s,
    ) as site:
        site.start_producers()
        done = inflict(site, schedule, say=say)
        say("the schedule is over")
        for producer, order in zip(site.producers, site.orders, strict=True):
            code = producer.wait(plan.duration_s * 10 + 600)
            if code:
                said = (folder / f"{order.name}.log").read_text()
                raise RuntimeError(f"a producer ended with exit code {code}: {said}")
        say("all jobs are accepted")
        settle(site, within_s=plan.patience_s, quiet_s=plan.visibility_timeout_s + 1)
        say("all is quiet")
        found = audit(site, done, is_right=is_right)
        codes = site.stop_workers()
    return ChaosRun(plan, found, time.monotonic() - started, codes)
