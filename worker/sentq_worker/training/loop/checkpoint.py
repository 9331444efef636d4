"""Checkpoints of an unfinished training: one file, replaced atomically.

`checkpoint/state.pt` is written to a temporary file, flushed, and renamed, so a kill at any moment
leaves a complete checkpoint. The weights of the best epoch have a file of their own, named by the
epoch: a checkpoint never refers to weights that a later epoch has overwritten.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from sentq_worker.training.errors import CheckpointError, TrainingOptionsError
from sentq_worker.training.files import sync_folder

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["CheckpointStore"]

_STATE = "state.pt"
_PARTIAL = ".partial"


@dataclass(frozen=True, slots=True)
class CheckpointStore:
    """The checkpoints of one training in `folder`; `options` must not change on resuming."""

    folder: Path
    options: Mapping[str, object]

    @property
    def exists(self) -> bool:
        """Whether there is a checkpoint."""
        return (self.folder / _STATE).exists()

    def save(self, state: Mapping[str, object]) -> None:
        """Replace the checkpoint atomically.

        Raises:
            CheckpointError: The disk is full or not writable. The old checkpoint is unchanged.
        """
        self._write(_STATE, {"options": dict(self.options), **state})

    def save_best(self, epoch: int, weights: Mapping[str, torch.Tensor]) -> None:
        """Store the weights of the best epoch.

        The weights of the previous best remain until `delete_worse`: delete them only after a
        checkpoint that names this epoch is saved.
        """
        self._write(_best(epoch), dict(weights))

    def delete_worse(self, best_epoch: int) -> None:
        """Delete the stored weights of all epochs but the best one."""
        for path in self.folder.glob(_best("*")):
            if path.name != _best(best_epoch):
                path.unlink()

    def load(self) -> dict[str, Any] | None:
        """Return the checkpoint; without one, return None.

        Raises:
            CheckpointError: The checkpoint cannot be read.
            TrainingOptionsError: It was made with other options; the message lists them.
        """
        if not self.exists:
            return None
        state = self._read(_STATE)
        self._reject_changes(state.get("options", {}))
        return state

    def load_best(self, epoch: int) -> dict[str, torch.Tensor]:
        """Return the weights that `save_best` stored."""
        return self._read(_best(epoch))

    def discard(self) -> None:
        """Delete the checkpoint, if there is one."""
        # The state goes first: a kill in between must not leave a state without its weights.
        (self.folder / _STATE).unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _reject_changes(self, saved: Mapping[str, object]) -> None:
        names = [*self.options, *(name for name in saved if name not in self.options)]
        changed = [
            f"{name} was {saved.get(name)!r} and is now {self.options.get(name)!r}"
            for name in names
            if saved.get(name) != self.options.get(name)
        ]
        if changed:
            raise TrainingOptionsError(
                f"{self.folder} was made with other options: {'; '.join(changed)}. "
                "Give the same options to resume, or --restart to discard it"
            )

    def _write(self, name: str, content: dict[str, object]) -> None:
        path = self.folder / name
        partial = path.with_name(name + _PARTIAL)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                torch.save(content, file)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
            sync_folder(self.folder)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
            raise CheckpointError(
                f"cannot write {path}: {error}. "
                "Free disk space, then run the same command to resume"
            ) from error

    def _read(self, name: str) -> dict[str, Any]:
        path = self.folder / name
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            raise CheckpointError(
                f"{path} cannot be read. Give --restart to discard it and start again"
            ) from error
        if not isinstance(content, dict):
            raise CheckpointError(f"{path} is not a checkpoint. Give --restart to discard it")
        return content


def _best(epoch: int | str) -> str:
    return f"best-epoch-{epoch}.pt"
