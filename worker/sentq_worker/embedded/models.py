"""The models that this process has loaded: each of them once, also if many scorers use it.

A cluster sends a copy of a scorer with each task. A model that such a copy has loaded stays loaded
until the process ends; any other one until its last scorer is gone.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from itertools import chain, islice
from threading import Lock
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakValueDictionary

from sentq.contract import Detail, Limits, Outcome
from sentq_worker.engine.base import EngineInfo, ModelUnavailable
from sentq_worker.extras import install_advice
from sentq_worker.settings import WorkerSettings

if TYPE_CHECKING:
    from sentq_worker.scoring.scorer import EngineScorer

__all__ = ["SharedModel", "find_shared_model", "shared_model"]

logger = logging.getLogger(__name__)

#: How many slices of texts are scored in one call: the engine sorts them by length together.
_SLICES_PER_CALL: Final = 8


class SharedModel:
    """A model in the memory of this process. Threads may share it: it scores for one at a time."""

    def __init__(self, scorer: EngineScorer) -> None:
        self._scorer = scorer
        self._lock = Lock()
        #: A fork has the memory of its parent, and none of the threads that compute there.
        self.process_id = os.getpid()

    @property
    def info(self) -> EngineInfo:
        """The model, its revision, and where it runs."""
        return self._scorer.engine.info

    def score(self, texts: Sequence[object], *, detail: Detail | None = None) -> list[Outcome]:
        """Return an outcome for each text, in order, with its parts if `detail` names them.

        Raises:
            DeviceLost: This process cannot compute anything any more.
            EngineUnavailable: The engine computes nothing at the moment.
        """
        from sentq_worker.scoring.parts import with_detail
        from sentq_worker.scoring.scorer import slices

        parts = slices(with_detail(texts, detail))
        outcomes: list[Outcome] = []
        part = list(islice(parts, _SLICES_PER_CALL))
        while part:
            following = list(islice(parts, _SLICES_PER_CALL))
            with self._lock:
                self._scorer.prefetch(following)
                outcomes += chain.from_iterable(self._scorer.score(part))
            part = following
        return outcomes


class _Models:
    """What a process has loaded.

    Args:
        is_forked: Whether the process is the fork of one that has imported torch.
    """

    def __init__(self, *, is_forked: bool = False) -> None:
        self._lock = Lock()
        self._loaded: WeakValueDictionary[str, SharedModel] = WeakValueDictionary()
        self._kept: dict[str, SharedModel] = {}
        self._is_forked = is_forked

    def find(self, options: Mapping[str, object]) -> SharedModel | None:
        """Return the model of these options, if it is loaded."""
        return self._loaded.get(_key(options))

    def load(self, options: Mapping[str, object], *, keep: bool) -> SharedModel:
        """Return the model of these options; load it at the first call."""
        key = _key(options)
        with self._lock:
            model = self._loaded.get(key)
            if model is None:
                model = self._loaded[key] = SharedModel(_load(options, one_thread=self._is_forked))
            if keep:
                self._kept[key] = model
            return model


def find_shared_model(options: Mapping[str, object]) -> SharedModel | None:
    """Return the model of these options, if this process has loaded it."""
    return _models.find(options)


def shared_model(options: Mapping[str, object], *, keep: bool) -> SharedModel:
    """Return the model of these options; load it at the first call in this process.

    Args:
        options: Settings of a worker, by name, as `WorkerSettings` has validated them.
        keep: Whether the model stays loaded until the process ends.

    Raises:
        EngineError: The model cannot be loaded. The message says what to do.
    """
    return _models.load(options, keep=keep)


def _key(options: Mapping[str, object]) -> str:
    return json.dumps(options, sort_keys=True)


def _load(options: Mapping[str, Any], *, one_thread: bool) -> EngineScorer:
    if one_thread and options["threads"] is None:
        # The threads of OpenMP are those of the parent: to wait for them takes for ever.
        logger.info("this process is a fork of one with torch: the model computes in one thread")
        options = {**options, "threads": 1}
    # The limit of tokens is one of jobs, and there are none here.
    settings = WorkerSettings.model_construct(**options, tokens_per_job=sys.maxsize)
    try:
        from sentq_worker.providers.loading import load_scorer

        return load_scorer(settings, Limits())
    except ModuleNotFoundError as error:
        if install_advice(error) is None:
            raise
        raise ModelUnavailable(
            f"{error.name} is not installed, and a model needs it: "
            'pip install "sentq[worker,model]"'
        ) from error


def _forget() -> None:
    """Let a fork load models of its own."""
    global _models  # noqa: PLW0603 - locks and threads of the parent cannot be used here
    _models = _Models(is_forked="torch" in sys.modules)


_models = _Models()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
