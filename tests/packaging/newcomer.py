"""Do what the README tells a newcomer, from the first command to the first outcome.

Clones the repository, builds the wheels in the clone, installs them into two new environments (an
application's with the client alone, and a worker's), starts a private Redis and a worker, and
scores a text from the application's environment. Prints each command and the seconds it took. All
files are in a temporary folder, which is removed at the end.

    $ python tests/packaging/newcomer.py

pip takes packages from where it is configured to. The torch that constraints.txt pins is installed
first, so that a build without CUDA is taken where pip's configuration has one.

Exit codes: 0 the text was scored as shown in README.md, 1 a command failed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]

_STEP_LIMIT_S: Final = 1800
_READY_LIMIT_S: Final = 180


class StepFailed(Exception):
    """A command did not do what the README says."""


class Newcomer:
    """Runs commands in a clone, and measures them.

    The environment has no variable of the virtual environment or the sources that this process
    runs in, so a command finds only what it installed.
    """

    def __init__(self, folder: Path) -> None:
        self.clone = folder / "sentq"
        self.took_s: list[tuple[str, float]] = []
        hidden = ("PYTHON", "VIRTUAL_ENV", "SENTQ_", "COV", "MAKE", "MFLAGS")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
        path = [
            each
            for each in kept.get("PATH", "").split(os.pathsep)
            if not Path(each, "activate").exists()
        ]
        self.environment = kept | {"PATH": os.pathsep.join(path), "HOME": str(folder)}

    def run(self, command: str, **variables: str) -> str:
        """Run a shell command in the clone; return what it wrote to standard output.

        Raises:
            StepFailed: Its exit code is not 0.
        """
        started_s = time.monotonic()
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.clone if self.clone.exists() else self.clone.parent,
            env=self.environment | variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_STEP_LIMIT_S,
            check=False,
        )
        self.note(command, time.monotonic() - started_s)
        if done.returncode:
            raise StepFailed(f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
        return done.stdout

    def note(self, step: str, seconds: float) -> None:
        """Record and print how long a step took."""
        self.took_s.append((step, seconds))
        _print(f"{seconds:7.1f} s  $ {step}")

    @contextmanager
    def dev(self, command: str) -> Iterator[str]:
        """Run `sentq dev` for the block; yield the broker URL that it prints."""
        log = self.clone.parent / "dev.log"
        started_s = time.monotonic()
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {command}"],
                cwd=self.clone,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            while not (found := re.search(r"SENTQ_BROKER_URL='(.+)'", log.read_text())):
                is_late = time.monotonic() - started_s > _READY_LIMIT_S
                if process.poll() is not None or is_late:
                    raise StepFailed(f"{command}\n{log.read_text()[-2000:]}")
                time.sleep(0.1)
            self.note(f"{command} &", time.monotonic() - started_s)
            yield found[1]
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            process.wait(60)


def documented_commands() -> list[str]:
    """Return the commands of the README's installation, in order."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    section = readme.partition("### Installation")[2]
    block = section.partition("```console\n")[2].partition("```")[0]
    return [line.removeprefix("$ ") for line in block.splitlines()]


def documented_score() -> tuple[str, Mapping[str, float]]:
    """Return the first `sentq score` of the README, and the score that it shows for each label."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(r"^\$ (sentq score .+)\n.+\n((?:\w+ +\d\.\d+ .+\n)+)", readme, re.MULTILINE)
    if found is None:
        raise StepFailed("README.md shows no `sentq score` with its table")
    rows = (line.split() for line in found[2].splitlines())
    return found[1], {row[0]: float(row[1]) for row in rows}


def pinned_torch() -> str:
    """Return the requirement of torch in constraints.txt."""
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return next(line for line in pins if line.startswith("torch=="))


def first_hour(folder: Path) -> float:
    """Do all steps in a folder; return the seconds from the first command to the first outcome.

    Raises:
        StepFailed: A command failed, or the outcome is not the one that the README shows.
    """
    newcomer = Newcomer(folder)
    started_s = time.monotonic()
    newcomer.run(f"git clone --quiet {ROOT} sentq")
    for command in documented_commands():
        newcomer.run(command)
    newcomer.run("python3 -m venv worker-env")
    newcomer.run(f"worker-env/bin/pip install {pinned_torch()}")
    newcomer.run('worker-env/bin/pip install --find-links dist "sentq[worker,model,embedded]"')
    score, shown = documented_score()
    with newcomer.dev("worker-env/bin/sentq dev --data dev-data") as url:
        printed = newcomer.run(f"sentq-env/bin/{score}", SENTQ_BROKER_URL=url)
        total_s = time.monotonic() - started_s
    rows = [json.loads(line) for line in printed.splitlines()]
    scored = {row["label"]: row["score"] for row in rows}
    _print("\n".join(f"{row['label']:10} {row['score']:.3f}  {row['text']}" for row in rows))
    # A dtype other than float32 moves a score by up to 0.01.
    if scored.keys() != shown.keys() or any(abs(scored[x] - shown[x]) > 0.01 for x in shown):
        raise StepFailed(f"README.md shows {shown}, and the outcomes are {scored}")
    return total_s


def main() -> int:
    """Run the script; return its exit code."""
    folder = Path(tempfile.mkdtemp(prefix="sentq-newcomer-"))
    try:
        total_s = first_hour(folder)
    except StepFailed as failure:
        _print(f"failed: {failure}")
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    _print(f"\n{total_s:.0f} s from the first command to the first outcome")
    return 0


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
