"""The errors of training and evaluation, as the user of the command sees them.

    TrainingError
    |-- TrainingDataError (ValueError)      a file or a row of it cannot be used
    |-- TrainingOptionsError (ValueError)   an option is wrong, or differs from the checkpoint's
    |-- CheckpointError (RuntimeError)      a checkpoint cannot be read or written
    |-- ExportError (RuntimeError)          the finished model cannot be written
    |-- DivergedError (RuntimeError)        the loss is not finite
    |-- MissingExtra (RuntimeError)         a library of the extra `training` is not installed
    `-- TrainingStopped (RuntimeError)      stopped by a signal; the same command resumes

Every message says what to do next. No message contains a text of the data.
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
    """Base of all errors that training and evaluation raise."""


class TrainingDataError(TrainingError, ValueError):
    """A data file, or the row at the line in the message, cannot be used: correct the file."""


class TrainingOptionsError(TrainingError, ValueError):
    """An option is wrong, or differs from the option that the checkpoint was made with."""


class CheckpointError(TrainingError, RuntimeError):
    """A checkpoint cannot be written (free disk space) or cannot be read (use --restart)."""


class ExportError(TrainingError, RuntimeError):
    """The model cannot be written: free disk space, then run the same command to export it."""


class DivergedError(TrainingError, RuntimeError):
    """The loss is not finite: lower the learning rate, or train in float32."""


class MissingExtra(TrainingError, RuntimeError):
    """A library of the extra `training` is not installed: the message says how to get it."""


class TrainingStopped(TrainingError, RuntimeError):
    """A signal stopped the training after a checkpoint was saved."""
