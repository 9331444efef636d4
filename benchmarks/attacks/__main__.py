"""Attacks of one sender, and 200 interactive jobs of others beside each.

    python -m benchmarks.attacks [--json] [--against CHECKOUT] [--only NAME] [--jobs N]

Each attack gets a Redis and a worker of its own, which has scored some jobs before. It is held if
all interactive jobs are scored within the limit, the worker runs on, its memory has grown by less
than 64 MiB, and the attack achieved nothing else. TLS (H7, M11) is in
`tests/security/test_h7_tls.py`.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import redis

from benchmarks.attacks.attack import Attack
from benchmarks.attacks.checkout import HERE, Checkout
from benchmarks.attacks.run import ATTACKS, AttackReport, run_attack
from benchmarks.attacks.site import NoRedisWithSelectors
from benchmarks.figures import argument_parser

_COLUMNS = f"{'attack':<44}{'in time':>9}{'longest s':>11}  {'worker':<9}{'MiB':>6}"


def main() -> int:
    """Run the attacks, and return how many were not held or not run."""
    parser = argument_parser(__doc__)
    add = parser.add_argument
    add("--against", type=Path, metavar="CHECKOUT", help="another version's sources")
    add("--only", metavar="NAME", help="attacks whose name begins so, such as H1")
    add("--jobs", type=int, default=200, help="interactive jobs (%(default)s)")
    add("--interval-ms", type=float, default=20.0, help="time between two (%(default)s)")
    add("--wait-s", type=float, default=20.0, help="wait after the last one (%(default)s)")
    options = parser.parse_args()
    checkout = Checkout(options.against) if options.against else HERE
    attacks = [each for each in ATTACKS if each.name.startswith(options.only or "")]
    reports = []
    if not options.json:
        print(_COLUMNS, flush=True)
    for attack in attacks:
        report = _run_in_a_folder(
            attack, checkout, options.jobs, options.interval_ms / 1000, options.wait_s
        )
        if report is None:
            continue
        reports.append(report)
        if not options.json:
            print(_row(report), flush=True)
    if options.json:
        print(json.dumps([asdict(each) | {"is_held": each.is_held} for each in reports]))
    return len(attacks) - sum(each.is_held for each in reports)


def _run_in_a_folder(
    attack: Attack, checkout: Checkout, jobs: int, interval_s: float, wait_s: float
) -> AttackReport | None:
    with tempfile.TemporaryDirectory(prefix="sentq-attack-") as folder:
        try:
            return run_attack(
                attack, checkout, Path(folder), jobs=jobs, interval_s=interval_s, wait_s=wait_s
            )
        except (NoRedisWithSelectors, RuntimeError, TimeoutError, redis.RedisError) as error:
            print(f"{attack.name}: not run: {error}", file=sys.stderr)
            return None


def _row(report: AttackReport) -> str:
    longest = f"> {report.waited_s:.0f}" if report.longest_s is None else f"{report.longest_s:.3f}"
    growth = "-" if report.growth_mib is None else f"{report.growth_mib:+.0f}"
    in_time = f"{report.in_time}/{report.jobs}"
    verdict = "held" if report.is_held else "NOT HELD"
    notes = "; ".join(filter(None, [verdict, report.ended, report.finding]))
    return f"{report.attack:<44}{in_time:>9}{longest:>11}  {report.worker:<9}{growth:>6}  {notes}"


if __name__ == "__main__":
    sys.exit(min(main(), 1))
