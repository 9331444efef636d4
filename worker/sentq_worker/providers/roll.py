"""What a worker does for a roll: brings the models that it has loaded to what an operator wants.

    follow(state) ─▶ a thread: release the last candidate ─▶ load what is missing ─▶ serve

The worker goes on scoring meanwhile. A model that cannot be loaded leaves the one that serves in
its place, and is tried again when the operator repeats the command, or the worker restarts.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Mapping
from typing import Final

from sentq.contract import MAIN_MODEL
from sentq.wire.roll.report import RollReport, RollStage
from sentq.wire.roll.state import RollState
from sentq_worker.engine.base import EngineError, ModelUnavailable
from sentq_worker.engine.provider import JobScorer
from sentq_worker.garbage import free_released
from sentq_worker.providers.models import LoadedModels

__all__ = ["LoadBeside", "RollFollower"]

logger = logging.getLogger(__name__)

#: Loads a model beside those of these names.
LoadBeside = Callable[[Collection[str]], JobScorer]

#: What a report says of an error at most.
_MAX_ERROR_CHARS: Final = 300


class RollFollower:
    """Follows the states of rolls. One thread at a time may call `follow`.

    Args:
        load: What loads the main model, and each that can be rolled, by name; empty if none can.
        models: Returns the models of the worker; None while they are being loaded.
    """

    def __init__(
        self,
        load: Mapping[str, LoadBeside],
        models: Callable[[], LoadedModels | None],
    ) -> None:
        self._load = load
        self._models = models
        self._wanted = RollState()
        #: The models and the state at which a model could not be loaded, and why.
        self._failure: tuple[LoadedModels, RollState, str] | None = None
        self._thread: threading.Thread | None = None

    @property
    def report(self) -> RollReport | None:
        """What the worker reports; None if it has no model that can be rolled."""
        if not self._load:
            return None
        models, wanted = self._models(), self._wanted
        state = RollState() if models is None else models.state
        error = self._error_of(models, wanted)
        stage = RollStage.FAILED if error else RollStage.LOADING
        if models is not None and state == wanted:
            stage = RollStage.READY
        return RollReport(
            names=tuple(name for name in self._load if name != MAIN_MODEL),
            id=wanted.id,
            stage=stage,
            serving=state.serving,
            candidate=state.candidate,
            error=error,
        )

    def follow(self, state: RollState, *, waits: bool = False) -> None:
        """See `SupportsRoll`."""
        self._wanted = state
        if not self._load or self._is_done(self._models()):
            return
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="sentq-roll", daemon=True)
            self._thread.start()
        if waits:
            self._thread.join()

    def _error_of(self, models: LoadedModels | None, state: RollState) -> str | None:
        failure = self._failure
        return failure[2] if failure and failure[:2] == (models, state) else None

    def _is_done(self, models: LoadedModels | None) -> bool:
        """Return whether nothing is to be done with these models at the moment."""
        wanted = self._wanted
        return models is None or models.state == wanted or bool(self._error_of(models, wanted))

    def _run(self) -> None:
        while (models := self._models()) is not None and not self._is_done(models):
            state = self._wanted
            error = self._apply(models, state)
            self._failure = (models, state, error[:_MAX_ERROR_CHARS]) if error else None
            free_released()

    def _apply(self, models: LoadedModels, state: RollState) -> str | None:
        """Bring models to a state; return why one of its models cannot be loaded, if so."""
        before = models.state
        if before.candidate not in (None, *state.models):
            # At most two models are loaded at once.
            models.serve(before.without_candidate(), {})
            free_released()
        loaded: dict[str, JobScorer] = {}
        for name in state.models:
            if name in models.state.models:
                continue
            try:
                loaded[name] = self._loaded(name, models)
            except Exception as error:  # noqa: BLE001 - the model that serves goes on
                said = str(error) if isinstance(error, EngineError) else type(error).__name__
                logger.warning("the model %s cannot be loaded for a roll: %s", name, said)
                if name != state.serving:
                    models.serve(state.without_candidate(), loaded)
                return said or type(error).__name__
        models.serve(state, loaded)
        logger.info("the model %s serves%s", state.serving, _described(state))
        return None

    def _loaded(self, name: str, models: LoadedModels) -> JobScorer:
        if name not in self._load:
            raise ModelUnavailable(
                f'this worker has no table [worker.models.{name}] with load = "on_roll"'
            )
        return self._load[name](models.infos)


def _described(state: RollState) -> str:
    """Return what a log line says of the candidate."""
    if state.candidate is None:
        return ""
    how = " in its shadow" if state.is_shadow else ""
    return f"; {state.candidate} scores {state.share:.4g} of its jobs{how}"
