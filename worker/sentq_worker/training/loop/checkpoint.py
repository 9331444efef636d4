"""The state of an unfinished training on disk: one file, replaced as a whole.

`checkpoint/state.pt` is written beside itself, flushed, and renamed over the old one, so a kill
at any moment leaves a whole state. The weights of the best epoch have a file of their own, named
by the epoch: a state never points to weights that a later epoch has overwritten.
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
    """Checkpoints of one training, under `folder`; `options` are what must not change."""

    folder: Path
    options: Mapping[str, Any]

    @property
    def exists(self) -> bool:
        return (self.folder / _STATE).exists()

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace the checkpoint by this state, or leave the old one whole.

        Raises:
            CheckpointError: the disk is full or not writable.
        """
        self._write(_STATE, {"options": dict(self.options), **state})

    def save_best(self, epoch: int, weights: Mapping[str, torch.Tensor]) -> None:
        """Keep the weights of this epoch, and of no other.

        The ones before go only with `drop_worse`, after the state that names this epoch is safe.
        """
        self._write(_best(epoch), dict(weights))

    def drop_worse(self, best_epoch: int) -> None:
        for path in self.folder.glob(_best("*")):
            if path.name != _best(best_epoch):
                path.unlink()

    def load(self) -> dict[str, Any] | None:
        """Return the last saved state, None when there is none.

        Raises:
            CheckpointError: it cannot be read.
            TrainingOptionsError: it was made with other options; the message tells which.
        """
        if not self.exists:
            return None
        state = self._read(_STATE)
        self._compare(state.get("options", {}))
        return state

    def load_best(self, epoch: int) -> dict[str, torch.Tensor]:
        """Return the weights that `save_best` kept."""
        return self._read(_best(epoch))

    def discard(self) -> None:
        """Remove the checkpoint, if there is one."""
        # First what makes it one: a kill in between must not leave a state without its weights.
        (self.folder / _STATE).unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _compare(self, then: Mapping[str, Any]) -> None:
        names = [*self.options, *(name for name in then if name not in self.options)]
        changed = [
            f"{name} was {then.get(name)!r} and is now {self.options.get(name)!r}"
            for name in names
            if then.get(name) != self.options.get(name)
        ]
        if changed:
            raise TrainingOptionsError(
                f"{self.folder} was made with other options: {'; '.join(changed)}. "
                "Give the same options to resume, or --restart to discard it"
            )

    def _write(self, name: str, content: dict[str, Any]) -> None:
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
                f"cannot write {path}: {error}. Make room, then give the same command to resume"
            ) from error

    def _read(self, name: str) -> dict[str, Any]:
        path = self.folder / name
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            raise CheckpointError(
                f"{path} cannot be read. Give --restart to discard it and begin anew"
            ) from error
        if not isinstance(content, dict):
            raise CheckpointError(f"{path} is no checkpoint. Give --restart to discard it")
        return content


def _best(epoch: int | str) -> str:
    return f"best-epoch-{epoch}.pt"
