"""Report what an operator wants to know, and exit with 1 when something needs attention.

Made for a cron job or a monitoring check. With `sentq dev` running and SENTQ_BROKER_URL set as it
printed:

    $ python examples/operator_report.py
    queue sentq: 0 jobs waiting
    queue sentq.bulk: 0 jobs waiting
    workers: 1, jobs in flight: 0
    dead letters of the last 24 h: 0
    OK

Exit codes: 0 nothing needs attention, 1 something does (lines that begin with ATTENTION), 2 a
wrong option.
"""

import argparse
import sys
from collections.abc import Iterator

from sentq import Client, RedisUnavailable
from sentq.admin.dead import Selection
from sentq.admin.status import ServiceStatus


def main() -> int:
    """Print the report; return the exit code."""
    parser = argparse.ArgumentParser(description="Report the status of a sentq service.")
    parser.add_argument("--hours", type=float, default=24, help="report dead letters this new")
    parser.add_argument("--oldest-s", type=float, default=60, help="longest wait that is in order")
    options = parser.parse_args()
    try:
        with Client() as client:
            status = client.service_status()
            dead = client.dead.count(Selection(newer_than_s=options.hours * 3600))
    except RedisUnavailable as error:
        print(f"ATTENTION: {error}")
        return 1
    for queue in status.queues:
        print(f"queue {queue.name}: {queue.waiting_jobs:,} jobs waiting")
    print(f"workers: {len(status.workers)}, jobs in flight: {status.in_flight_jobs:,}")
    print(f"dead letters of the last {options.hours:g} h: {dead.total():,}")
    problems = list(problems_of(status, oldest_s=options.oldest_s))
    problems += [
        f"dead letters with the code {code}: {count:,}" for code, count in dead.most_common()
    ]
    for problem in problems:
        print(f"ATTENTION: {problem}")
    if not problems:
        print("OK")
    return 1 if problems else 0


def problems_of(status: ServiceStatus, *, oldest_s: float) -> Iterator[str]:
    """Yield what needs attention, one sentence each."""
    if not status.workers:
        yield "no worker reports; start one with sentq-worker"
    for worker in status.workers:
        if worker.waiting_for:
            yield f"{worker.worker} cannot score: {worker.waiting_for}"
        if worker.breaker not in {None, "closed"}:
            yield f"{worker.worker} does not ask the Hub: its breaker is {worker.breaker}"
    for queue in status.queues:
        if queue.oldest_s is not None and queue.oldest_s > oldest_s:
            yield f"the oldest job of {queue.name} has waited for {queue.oldest_s:.0f} s"


if __name__ == "__main__":
    sys.exit(main())
