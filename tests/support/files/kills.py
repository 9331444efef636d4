"""Runs that are killed at random moments, in processes of their own.

`python -m tests.support.files.kills INPUT OUTPUT ROWS_PER_PART [instant]` is such a process: it
scores a file by the rule of the test kit, or gives all texts one outcome.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Final

from rich.console import Console

from sentq.contract import Prediction
from sentq.files.run.command import run_files
from sentq.files.run.manifest import Manifest
from sentq.files.run.options import RunRequest
from sentq.files.run.scoring import ModelName, ScoredTexts
from sentq.files.run.watch import ProgressKind
from tests.support.files.scoring import RuleScoring

__all__ = ["InstantScoring", "TooManyLost", "command_of", "kill_at_random_moments"]

_OUTCOME: Final = Prediction(
    label="positive",
    score=0.9,
    scores={"negative": 0.1, "positive": 0.9},
    sentiment=0.8,
    tokens=20,
    windows=1,
)

_TEXTS_PER_STEP: Final = 64


class TooManyLost(Exception):
    """A kill has cost more than one part."""


class InstantScoring:
    """A `TextScoring` that takes no time."""

    def score(self, texts: Iterable[object]) -> Iterator[ScoredTexts]:
        each, model = iter(texts), ModelName("instant", None)
        while count := sum(1 for _ in islice(each, _TEXTS_PER_STEP)):
            yield ScoredTexts([_OUTCOME] * count, model)


def command_of(source: Path, out: str, *, rows_per_part: int, instant: bool = False) -> list[str]:
    """Return the command of a run."""
    kind = ["instant"] if instant else []
    program = [sys.executable, "-m", "tests.support.files.kills"]
    return [*program, str(source), out, str(rows_per_part), *kind]


def kill_at_random_moments(
    command: Sequence[str], parts: Path, *, kills: int, most_s: float, seed: int
) -> int:
    """Run a command again and again, kill it each time, and at last let it end.

    Args:
        command: As `command_of` returns it.
        parts: The folder of its parts.
        kills: How often it is killed.
        most_s: Seconds from its beginning within which it is killed.
        seed: Gives the moments.

    Returns:
        How often it was killed. It is less than `kills` if it was complete before.

    Raises:
        TooManyLost: A kill has cost more than one part.
    """
    chance = random.Random(seed)
    for killed in range(kills):
        with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
            assert process.stderr is not None
            process.stderr.readline()  # It has begun.
            time.sleep(chance.uniform(0, most_s))
            process.kill()
        if process.returncode == 0 or not parts.exists():
            return killed  # It was complete.
        _check_loss(parts)
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    return kills


def _check_loss(folder: Path) -> None:
    """Fail if more than one part is there that the manifest does not count."""
    manifest = Manifest.read(folder)
    if manifest is None or manifest.is_complete:
        return
    found = sum(not path.name.endswith(".tmp") for path in folder.glob("part-*"))
    if not manifest.parts <= found <= manifest.parts + 1:
        raise TooManyLost(f"{found} parts, of which {manifest.parts} count")


def main(source: str, out: str, rows_per_part: str, kind: str = "rule") -> None:
    """Run one process."""
    request = RunRequest(
        inputs=[source],
        out=out,
        program="sentq",
        rows_per_part=int(rows_per_part),
        progress=ProgressKind.JSON,
    )
    scoring = InstantScoring() if kind == "instant" else RuleScoring()
    run_files(request, lambda: scoring, Console(stderr=True))


if __name__ == "__main__":
    main(*sys.argv[1:])
