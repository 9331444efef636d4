"""The cost of a callback for each job, beside plain jobs and Celery's own links, in one run.

    python -m benchmarks.batches.callbacks [--json] [--jobs N] [--turns N]

Jobs with `then` (which gets the id, or the outcome) and plain ones are sent and scored in turn; the
callbacks stay in their queue. Celery's links are sent one by one, as a Celery application does, and
its messages are published by the worker as it finishes each job.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

from celery import Celery

from benchmarks.batches.turns import TEXT, rates
from benchmarks.figures import argument_parser, show
from sentq import Client
from sentq.dev.embedded import find_redis_server
from tests.support.processes import RedisProcess

_QUEUE: Final = "callbacks"

#: How many jobs have a link: a worker needs a hundred times longer for one.
_LINKED_PART: Final = 10


def _senders(client: Client, app: Celery, jobs: int) -> Mapping[str, Callable[[], object]]:
    """Return what sends the jobs of each kind."""
    texts, then = [TEXT] * jobs, app.signature("store", args=(7,)).set(queue=_QUEUE)
    send = partial(client.submit_many, texts, bulk=True)
    return {
        "plain": send,
        "id": partial(send, then=then, then_argument="id"),
        "outcome": partial(send, then=then, then_argument="outcome"),
        "link": partial(_send_linked, app, jobs // _LINKED_PART, then),
    }


def _send_linked(app: Celery, jobs: int, link: Any) -> None:
    with app.producer_pool.acquire(block=True) as producer:
        for _ in range(jobs):
            app.send_task(
                "sentq.score", args=[[TEXT]], queue="sentq.bulk", link=link, producer=producer
            )


def measure(*, jobs: int, turns: int) -> dict[str, float]:
    """Measure all figures.

    Raises:
        RuntimeError: A callback was not published once.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server = RedisProcess(find_redis_server(), folder, "--appendonly", "no").start()
        app = Celery("shop", broker=server.url, backend=server.url, set_as_current=False)
        try:
            with Client(broker_url=server.url) as client, server.client() as redis:
                found: dict[str, list[tuple[float, float]]] = {}
                for _ in range(turns):
                    for kind, send in _senders(client, app, jobs).items():
                        count = jobs // _LINKED_PART if kind == "link" else jobs
                        found.setdefault(kind, []).append(rates(server, folder, send, count))
                        expected = 0 if kind == "plain" else count
                        published = cast("int", redis.llen(_QUEUE))
                        if published != expected:
                            raise RuntimeError(f"{published} callbacks of {expected} jobs")
        finally:
            server.stop()
    return _figures(found)


def _figures(found: Mapping[str, list[tuple[float, float]]]) -> dict[str, float]:
    figures: dict[str, float] = {}
    for place, what in enumerate(("sent", "scored")):
        medians = {
            kind: statistics.median(each[place] for each in turns) for kind, turns in found.items()
        }
        figures |= {f"{kind}_{what}_per_s": round(rate) for kind, rate in medians.items()}
        for kind in ("id", "outcome", "link"):
            figures[f"{kind}_{what}_ratio"] = round(medians[kind] / medians["plain"], 3)
    return figures


def main() -> None:
    """Measure, and print the figures."""
    parser = argument_parser(__doc__)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    show(measure(jobs=options.jobs, turns=options.turns), as_json=options.json)


if __name__ == "__main__":
    main()
