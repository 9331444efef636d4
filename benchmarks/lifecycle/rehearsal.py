"""Workers scaled by the shipped ScaledObject, and by the length of the list, on the same load.

    python -m benchmarks.lifecycle.rehearsal [--json] [--record FILE] [--texts-per-s N]

Takes 20 minutes, root, and `ip`; no cluster. `tests.rehearsal` applies the rules of KEDA and of the
HorizontalPodAutoscaler to real workers in network namespaces of their own. The engine sleeps, so
that ten workers fit two cores. The ways begin one after another, so that their bursts do not meet.
`make rehearsal` draws a picture from the record.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

from benchmarks.figures import argument_parser
from tests.rehearsal.keda import ScaledObject, Trigger
from tests.rehearsal.load import SHOP, sends
from tests.rehearsal.run import Run, rehearse
from tests.rehearsal.shipped import oldest_target_s, shipped_scaling

#: How long after another way the next one begins: a burst is over by then.
_GAP_S: Final = 60.0


def ways() -> dict[str, ScaledObject]:
    """Return the ways to scale, by name.

    What is widely used is the trigger `redis` on the list of a queue. Its length for a worker is 5
    unless stated, and KEDA's other defaults go with it; or it has all that is shipped, but for the
    trigger.
    """
    shipped = shipped_scaling()
    (backlog, _) = shipped.triggers
    length = Trigger("sentq", target=5)
    return {
        "shipped": shipped,
        "LLEN, KEDA's defaults": ScaledObject((length,), max_replicas=shipped.max_replicas),
        "LLEN, otherwise as shipped": replace(
            shipped, triggers=(replace(length, target=backlog.target),)
        ),
    }


def measure(load: Sequence[int], *, texts_per_s: float) -> dict[str, Run]:
    """Rehearse all ways."""

    def one(number: int, scaled: ScaledObject) -> Run:
        time.sleep(number * _GAP_S)
        with tempfile.TemporaryDirectory() as folder:
            return rehearse(Path(folder), scaled, load, texts_per_s=texts_per_s)

    chosen = ways()
    with ThreadPoolExecutor(len(chosen)) as pool:
        runs = pool.map(one, range(len(chosen)), chosen.values())
        return dict(zip(chosen, runs, strict=True))


def _show(figures: Mapping[str, Mapping[str, float]]) -> None:
    (first, *_) = figures.values()
    print(f"{'':<20}" + "".join(f"{name:>30}" for name in figures))
    for row in first:
        print(f"{row:<20}" + "".join(f"{each[row]:>30,}" for each in figures.values()))


def main() -> None:
    """Print the figures, and keep the record of each second."""
    parser = argument_parser(__doc__)
    parser.add_argument("--record", type=Path, help="a file for the record, for a picture")
    parser.add_argument(
        "--texts-per-s", type=float, default=150, help="the rate of a worker (%(default)s)"
    )
    options = parser.parse_args()
    runs = measure(sends(SHOP), texts_per_s=options.texts_per_s)
    figures = {name: run.figures for name, run in runs.items()}
    if options.record:
        record = {name: asdict(run) for name, run in runs.items()}
        options.record.write_text(json.dumps(record | {"target_s": oldest_target_s()}))
    if options.json:
        print(json.dumps(figures))
        return
    _show(figures)


if __name__ == "__main__":
    main()
