"""Which extra of sentq brings a package that is not installed.

A client is installed without the worker's packages, but with its commands. These say what is
missing in one line.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

__all__ = ["install_advice"]

#: Commands of `sentq-worker` that need the extra `training`, with what a worker needs.
_TRAINING_COMMANDS: Final = frozenset({"train", "evaluate"})

_TRAINING_PACKAGES: Final = frozenset({"jinja2", "pyarrow", "scipy", "sklearn"})
_WORKER_PACKAGES: Final = frozenset(
    {"huggingface_hub", "numpy", "safetensors", "tokenizers", "torch", "transformers", "yaml"}
)


def install_advice(error: ModuleNotFoundError, arguments: Sequence[str] = ()) -> str | None:
    """Return a line that says what to install; None if no extra brings the missing module.

    Args:
        error: The failed import.
        arguments: Those of `sentq-worker`.
    """
    package = (error.name or "").partition(".")[0]
    if package not in _TRAINING_PACKAGES | _WORKER_PACKAGES:
        return None
    if package in _TRAINING_PACKAGES or _TRAINING_COMMANDS & set(arguments):
        return f'{package} is not installed, and this needs it: pip install "sentq[training,model]"'
    return (
        f"{package} is not installed, and a worker needs it: pip install "
        '"sentq[worker,model]", or "sentq[hub]" for a worker that only asks the Hub'
    )
