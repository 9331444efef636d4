"""The local engine as a provider, its labels, and whether a lost device works again."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from sentq.wire.roll.report import RollReport
from sentq.wire.roll.state import RollState
from sentq_worker.engine.base import EngineInfo, ModelUnavailable
from sentq_worker.engine.counts import EngineCounts, counts_of
from sentq_worker.engine.provider import (
    BreakerStates,
    JobScorer,
    ProviderJob,
    ProviderReply,
)
from sentq_worker.engine.steps import Steps, run_steps
from sentq_worker.inference.model_config import configured_labels
from sentq_worker.inference.model_files import find_model
from sentq_worker.providers.models import LoadedModels
from sentq_worker.providers.roll import LoadBeside, RollFollower
from sentq_worker.scoring.labels import Labels
from sentq_worker.settings import WorkerSettings

__all__ = ["LocalLabels", "LocalProvider", "is_device_back"]

_CHECK_DEVICE: Final = "import sys, torch; torch.zeros(1, device=sys.argv[1]).add(1).item()"
_CHECK_TIMEOUT_S: Final = 120


class LocalProvider:
    """Loads one model or several when it starts, and scores each job with one of them.

    Args:
        load: Makes the scorer of the main model, with the model loaded.
        load_others: The same for further models, by the names under which jobs ask for them.
        load_rolled: What loads models while others serve, by name; see `RollFollower`.
    """

    def __init__(
        self,
        load: Callable[[], JobScorer],
        load_others: Mapping[str, Callable[[], JobScorer]] = MappingProxyType({}),
        load_rolled: Mapping[str, LoadBeside] = MappingProxyType({}),
    ) -> None:
        self._load = load
        self._load_others = load_others
        self._models: LoadedModels | None = None
        #: What models have counted that were released.
        self._counts_before = EngineCounts()
        self._roll = RollFollower(load_rolled, lambda: self._models)

    @property
    def counts(self) -> EngineCounts:
        """See `SupportsCounts`."""
        return self._counts_before + counts_of(self._models)

    @property
    def info(self) -> EngineInfo:
        """See `Provider.info`."""
        return self._loaded.info

    @property
    def models(self) -> Mapping[str, EngineInfo]:
        """See `SupportsModels`."""
        return {} if self._models is None else self._models.infos

    @property
    def roll(self) -> RollReport | None:
        """See `SupportsRoll`."""
        return self._roll.report

    def follow(self, state: RollState, *, waits: bool = False) -> None:
        """See `SupportsRoll`."""
        self._roll.follow(state, waits=waits)

    @property
    def is_loaded(self) -> bool:
        """Whether the models are loaded at the moment."""
        return self._models is not None

    @property
    def breaker_states(self) -> BreakerStates:
        """See `Provider.breaker_states`."""
        return BreakerStates()

    @property
    def is_usable(self) -> bool:
        """See `Provider.is_usable`."""
        return True

    def start(self) -> None:
        """See `Provider.start`. A second call releases the models and loads them again."""
        self._counts_before, self._models = self.counts, None
        main = self._load()
        self._models = LoadedModels(
            main, {name: load() for name, load in self._load_others.items()}
        )

    def stop(self) -> None:
        """See `Provider.stop`."""

    def prefetch(self, jobs: Sequence[ProviderJob]) -> None:
        """See `Provider.prefetch`."""
        if self._models is not None:
            self._models.prefetch(jobs)

    def score(self, jobs: Sequence[ProviderJob]) -> list[ProviderReply]:
        """See `Provider.score`."""
        return run_steps(self.score_in_steps(jobs))

    def score_in_steps(self, jobs: Sequence[ProviderJob]) -> Steps[list[ProviderReply]]:
        """See `SupportsProviderSteps`."""
        return (yield from self._loaded.score_in_steps(jobs))

    @property
    def _loaded(self) -> LoadedModels:
        if self._models is None:
            raise RuntimeError("no model is loaded: start comes first")
        return self._models


class LocalLabels:
    """Returns the names of the local model's labels when it is called.

    The names come from the loaded engine, or from the model's files. They are None while neither
    is available.
    """

    def __init__(self, settings: WorkerSettings, local: LocalProvider) -> None:
        self._settings = settings
        self._local = local
        self._names: tuple[str, ...] | None = None

    def __call__(self) -> tuple[str, ...] | None:
        if self._names is None and (own := self._own()):
            self._names = Labels(own, self._settings.labels).names
        return self._names

    def _own(self) -> tuple[str, ...] | None:
        if self._local.is_loaded:
            return self._local.info.labels
        try:
            folder = find_model(self._settings.model, self._settings.revision).folder
        except ModelUnavailable:
            return None
        return configured_labels(folder)


def is_device_back(backend: str) -> bool:
    """Return whether a new process can use the device that this process lost.

    Args:
        backend: The device as outcomes name it, such as `local:cuda:0`.
    """
    command = [sys.executable, "-c", _CHECK_DEVICE, backend.removeprefix("local:")]
    try:
        check = subprocess.run(command, check=False, capture_output=True, timeout=_CHECK_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return check.returncode == 0
