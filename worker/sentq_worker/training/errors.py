"""What can go wrong in training, as the person at the terminal sees it.

    TrainingError
    |-- TrainingDataError (ValueError)      a file or a row of it cannot be used
    |-- TrainingOptionsError (ValueError)   an option, or options that differ from the checkpoint's
    |-- CheckpointError (RuntimeError)      a checkpoint cannot be read or written
    |-- ExportError (RuntimeError)          the finished model cannot be written
    |-- DivergedError (RuntimeError)        the loss is no longer a number
    |-- MissingExtra (RuntimeError)         a library of the extra `training` is not installed
    `-- TrainingStopped (RuntimeError)      stopped on request; the same command resumes

Every message says what to do next, and none contains a text of the data.
"""

from __future__ import annotations

from sentq.errors import SentqError

__all__ = [
    "CheckpointError",
    "DivergedError",
    "ExportError",
    "MissingExtra",
    "TrainingDataError",
    "TrainingError",
    "TrainingOptionsError",
    "TrainingStopped",
]


class TrainingError(SentqError):
    """Base of all errors that training raises on purpose."""


class TrainingDataError(TrainingError, ValueError):
    """A data file, or the row at the line it names, cannot be used: mend the file."""


class TrainingOptionsError(TrainingError, ValueError):
    """An option is wrong, or differs from those that the checkpoint was made with."""


class CheckpointError(TrainingError, RuntimeError):
    """A checkpoint cannot be written (make room), or not be read (start anew)."""


class ExportError(TrainingError, RuntimeError):
    """The finished model cannot be written: make room, and the same command exports again."""


class DivergedError(TrainingError, RuntimeError):
    """The loss is not finite: lower the learning rate, or train in float32."""


class MissingExtra(TrainingError, RuntimeError):
    """A library of the extra `training` is not installed: the message says how to get it."""


class TrainingStopped(TrainingError, RuntimeError):
    """A signal stopped the training after it had saved a checkpoint."""
