"""A checkout of sentq, of this version or an older one, whose worker and client are started."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Final

__all__ = ["HERE", "Checkout"]

#: The folders from which a checkout's packages are imported.
_IMPORTED: Final = (".", "producer", "worker", "model")

#: Stand-in workers of this version and of older ones, by their module.
_STANDINS: Final = ("tests.support.workers.standin", "tests.standin")

_LIST_SETTINGS: Final = """
import json
from sentq.settings import Settings
from sentq_worker.settings import HubSettings, WorkerSettings
print(json.dumps([
    model.model_config["env_prefix"] + name.upper()
    for model in (Settings, WorkerSettings, HubSettings) for name in model.model_fields
]))
"""

_SCRIPT_LIMIT_S: Final = 120


class Checkout:
    """The sources of one version.

    Args:
        folder: The root of the checkout.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()

    def environment(self, **variables: str) -> dict[str, str]:
        """Return the environment of its processes: no settings of the machine, and `variables`."""
        kept = {name: value for name, value in os.environ.items() if not _is_setting(name)}
        paths = os.pathsep.join(str(self.folder / name) for name in _IMPORTED)
        return kept | {"PYTHONPATH": paths} | variables

    @cached_property
    def settings(self) -> frozenset[str]:
        """The variables of all settings that this version knows."""
        return frozenset(json.loads(self.run(_LIST_SETTINGS)))

    def known(self, variables: Mapping[str, str]) -> dict[str, str]:
        """Leave out settings that this version does not know: it refuses them."""
        return {
            name: value
            for name, value in variables.items()
            if name in self.settings or not name.startswith("SENTQ_")
        }

    def run(self, script: str, **variables: str) -> str:
        """Run a Python script with this version's packages, and return what it prints.

        Raises:
            RuntimeError: It failed; the message ends with what it printed.
        """
        done = subprocess.run(
            [sys.executable, "-c", script],
            cwd=self.folder,
            env=self.environment(**variables),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SCRIPT_LIMIT_S,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"a script failed in {self.folder}: {done.stderr[-2000:]}")
        return done.stdout.strip()

    def start_worker(
        self, log: Path, *, bundled_model: bool, **variables: str
    ) -> subprocess.Popen[bytes]:
        """Start a worker, with the bundled model or with the stand-in for one."""
        module = "sentq_worker" if bundled_model else self._standin
        with log.open("wb") as output:
            return subprocess.Popen(
                [sys.executable, "-m", module],
                cwd=self.folder,
                env=self.environment(**variables),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def _standin(self) -> str:
        for module in _STANDINS:
            if (self.folder / module.replace(".", "/")).with_suffix(".py").exists():
                return module
        raise FileNotFoundError(f"{self.folder} has no stand-in worker")


def _is_setting(name: str) -> bool:
    return name.startswith(("SENTQ_", "CELERY_", "HF_")) or name == "PYTHONPATH"


HERE: Final = Checkout(Path(__file__).parents[2])
