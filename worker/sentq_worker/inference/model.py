"""The local engine: a sequence-classification model in this process."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Final

import torch

from sentq_worker.engine.base import (
    DeviceLost,
    EngineInfo,
    OutOfMemory,
    Window,
)
from sentq_worker.inference.attention_cuda import find_varlen
from sentq_worker.inference.classifier import Classifier, ClassifierConfig
from sentq_worker.inference.device import (
    best_dtype,
    choose_device,
    device_works,
    dtype_name,
    move_model,
)
from sentq_worker.inference.loading.load import load_model
from sentq_worker.inference.model_files import ModelFiles
from sentq_worker.inference.padded import PaddedForward
from sentq_worker.inference.positions import first_position
from sentq_worker.inference.trials.cache import TrialCache, inputs_of_machine
from sentq_worker.inference.trials.cpu import choose_forward
from sentq_worker.inference.trials.cuda import choose_on_cuda
from sentq_worker.inference.trials.equivalence import Forward, trial_windows

__all__ = ["LocalEngine"]

#: What torch says when the CPU's allocator fails; it has no class of its own for that.
_ALLOCATION_FAILED: Final = "can't allocate memory"


class LocalEngine:
    """A loaded model. One thread at a time may use it.

    Args:
        files: The model's files.
        device: `auto`, `cpu`, `mps`, `cuda` or `cuda:N`.
        dtype: `auto`, or the name of a dtype of torch.
        threads: Threads that compute on a CPU; None for torch's own choice.
        trial_folder: Where the results of trials on a CPU are kept; None keeps none.

    Raises:
        ModelUnavailable: The files are not a sequence-classification model, or cannot be loaded
            without running code from the model's repository.
        DeviceUnavailable: The device is missing, or failed in a trial.
    """

    def __init__(
        self,
        files: ModelFiles,
        *,
        device: str = "auto",
        dtype: str = "auto",
        threads: int | None,
        trial_folder: Path | None = None,
    ) -> None:
        self._device = choose_device(device)
        if threads is not None:
            torch.set_num_threads(threads)
        self._files = files
        self._trial_folder = trial_folder
        loaded = load_model(files)
        model, self._config = loaded.model, loaded.model.config
        self.tokenizer = loaded.tokenizer
        self.special_tokens = loaded.special_tokens
        self.window_tokens = _window_tokens(self._config, loaded.max_tokens)
        self._forward = self._choose_forward(
            model, None if dtype == "auto" else getattr(torch, dtype)
        )
        self.pads = isinstance(self._forward, PaddedForward)
        self.info = EngineInfo(
            model=files.name,
            revision=files.revision,
            backend=f"local:{self._device}",
            dtype=dtype_name(model.dtype),
            labels=_labels(self._config),
        )

    def _choose_forward(self, model: Classifier, dtype: torch.dtype | None) -> Forward:
        """Move the model to its device, in a dtype or the best one for the device."""
        pad_id = self._config.pad_token_id
        if self._device.type == "cpu":
            return choose_forward(
                model,
                dtype=dtype,
                pad_id=pad_id,
                window_tokens=self.window_tokens,
                cache=self._trial_cache(model, dtype),
            )
        dtype = dtype or best_dtype(self._device)
        if self._device.type == "cuda":
            return choose_on_cuda(
                model,
                device=self._device,
                dtype=dtype,
                pad_id=pad_id,
                window_tokens=self.window_tokens,
                varlen=find_varlen(),
            )
        return PaddedForward(move_model(model, self._device, dtype), pad_id=pad_id)

    def _trial_cache(self, model: Classifier, dtype: torch.dtype | None) -> TrialCache | None:
        if self._trial_folder is None:
            return None
        inputs = {
            "model": f"{self._files.name} {self._files.revision}",
            "class": type(model).__qualname__,
            "transformers": version("transformers"),
            "dtype": str(dtype),
            "pad_id": str(self._config.pad_token_id),
            "window_tokens": str(self.window_tokens),
        }
        return TrialCache(self._trial_folder, inputs_of_machine() | inputs)

    @property
    def has_idle_core(self) -> bool:
        """Whether a core that this process may use is idle while the engine computes."""
        return self._device.type != "cpu" or torch.get_num_threads() < _cores()

    def warm_up(self) -> None:
        """Run a batch, so that the first job does not wait for allocations."""
        self.predict(trial_windows(self._config, window_tokens=self.window_tokens))

    def predict(self, batch: Sequence[Window]) -> list[list[float]]:
        """See `Engine.predict`."""
        try:
            return self._probabilities(self._forward, batch)
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                self._check_device(error)
                raise
        # Outside of `except`, so that this error does not keep the other's frames and tensors.
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        raise OutOfMemory(f"{len(batch)} windows do not fit in memory")

    def predict_precisely(self, window: Window) -> list[float]:
        """See `Engine.predict_precisely`."""
        try:
            return self._probabilities(self._precise_forward, [window])[0]
        except RuntimeError as error:
            self._check_device(error)
            raise

    def _check_device(self, error: Exception) -> None:
        if not device_works(self._device):
            raise DeviceLost(f"{self._device} failed with {type(error).__name__}") from error

    @cached_property
    def _precise_forward(self) -> Forward:
        model = load_model(self._files).model
        move_model(model, self._device, torch.float32)
        return PaddedForward(model, pad_id=self._config.pad_token_id)

    def _probabilities(self, forward: Forward, batch: Sequence[Window]) -> list[list[float]]:
        with torch.inference_mode():
            logits = forward.logits(batch).float()  # (B, labels)
            rows: list[list[float]] = _activated(self._config, logits).cpu().tolist()
        return rows


def _labels(config: ClassifierConfig) -> tuple[str, ...]:
    return tuple(config.id2label[index] for index in range(len(config.id2label)))


def _activated(config: ClassifierConfig, logits: torch.Tensor) -> torch.Tensor:
    """Return the scores that the pipeline of Transformers computes from logits."""
    if config.problem_type == "regression":
        return logits
    if config.problem_type == "multi_label_classification" or config.num_labels == 1:
        return logits.sigmoid()
    return logits.softmax(-1)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        _ALLOCATION_FAILED in str(error)
    )


def _window_tokens(config: ClassifierConfig, tokenizer_limit: int) -> int:
    """Return the most tokens that the model reads at once.

    The limit of a tokenizer without one is 1e30.
    """
    positions: int | None = getattr(config, "max_position_embeddings", None)
    if positions is None:
        return min(tokenizer_limit, 512)
    return min(tokenizer_limit, positions - first_position(config))
