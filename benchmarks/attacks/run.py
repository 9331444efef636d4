"""Runs one attack against a version, with interactive jobs of others beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import redis

from benchmarks.attacks.attack import Attack
from benchmarks.attacks.by_messages import MESSAGE_ATTACKS
from benchmarks.attacks.by_rights import RIGHTS_ATTACKS
from benchmarks.attacks.checkout import Checkout
from benchmarks.attacks.probes import ProbeFigures, score_probes
from benchmarks.attacks.site import run_attack_site

__all__ = ["ATTACKS", "AttackReport", "run_attack"]

#: In the order of the review.
ATTACKS: Final = tuple(
    sorted(
        (*MESSAGE_ATTACKS, *RIGHTS_ATTACKS),
        key=lambda attack: (attack.name[0], int(attack.name[1:].split()[0])),
    )
)

#: How long an interactive job may take beside an attack, and how far a worker's memory may grow.
LATENCY_LIMIT_S: Final = 5.0
GROWTH_LIMIT_MIB: Final = 64.0


@dataclass(frozen=True, slots=True)
class AttackReport:
    """What an attack did to the service.

    Attributes:
        attack: Its name.
        jobs: The number of interactive jobs.
        in_time: How many of them were scored within the limit.
        longest_s: Their longest latency; None if one was not scored.
        waited_s: How long after the last one was sent its outcome was waited for.
        worker: `runs`, or how it ended.
        growth_mib: How far the worker's memory grew at most; None if it has ended.
        ended: When the attack's own jobs ended; "" if it has none.
        finding: What else it achieved, in words.
        is_finding_held: Whether that is nothing.
    """

    attack: str
    jobs: int
    in_time: int
    longest_s: float | None
    waited_s: float
    worker: str
    growth_mib: float | None
    ended: str
    finding: str
    is_finding_held: bool

    @property
    def is_held(self) -> bool:
        """Whether the service held."""
        return (
            self.in_time == self.jobs
            and self.worker == "runs"
            and self.growth_mib is not None
            and self.growth_mib < GROWTH_LIMIT_MIB
            and self.is_finding_held
        )


def run_attack(
    attack: Attack,
    checkout: Checkout,
    folder: Path,
    *,
    jobs: int = 200,
    interval_s: float = 0.02,
    wait_s: float = 20.0,
) -> AttackReport:
    """Run an attack against a new service of this version.

    Args:
        attack: The attack.
        checkout: The version.
        folder: An empty folder.
        jobs: The number of interactive jobs.
        interval_s: The time between two of them.
        wait_s: How long to wait for their outcomes after the last one was sent.

    Raises:
        NoRedisWithSelectors: The attack needs one, and no such server was found.
    """
    with run_attack_site(
        checkout,
        folder,
        bundled_model=attack.bundled_model,
        with_users=attack.with_users,
        with_hub=attack.with_hub,
        redis_options=attack.redis_options,
        variables=attack.variables,
    ) as site:
        before_mib = site.reset_peak_memory()
        sent = attack.send(site)
        try:
            probes = score_probes(
                site.redis, count=jobs, interval_s=interval_s, wait_s=wait_s, watched=sent.watched
            )
        except redis.RedisError:  # Redis serves no other sender.
            probes = ProbeFigures(jobs, (), None)
        peak_mib, worker = site.peak_memory_mib, site.state
        finding = sent.check()
        ended = "" if not sent.watched else "the attack's jobs did not end"
        if sent.watched and probes.watched_s is not None:
            ended = f"the attack's jobs ended after {probes.watched_s:.1f} s"
        return AttackReport(
            attack=attack.name,
            jobs=jobs,
            in_time=probes.answered_within(LATENCY_LIMIT_S),
            longest_s=probes.longest_s,
            waited_s=wait_s,
            worker=worker,
            growth_mib=None if peak_mib is None else peak_mib - before_mib,
            ended=ended,
            finding=finding.text,
            is_finding_held=finding.is_held,
        )
