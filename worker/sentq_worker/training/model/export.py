"""Write the folder of the finished model atomically.

All files are written to a temporary folder and then moved, model.safetensors last: a folder with
this file is complete. Until then the checkpoint stays, and the same command exports again.
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError

from sentq_worker.training.errors import ExportError
from sentq_worker.training.files import sync_folder
from sentq_worker.training.model.base import longest_tokens, remove_limits

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["WEIGHTS", "export"]

WEIGHTS = "model.safetensors"

_TEMPORARY = ".export"


def export(
    folder: Path,
    *,
    model: PreTrainedModel,
    weights: Mapping[str, torch.Tensor],
    tokenizer: PreTrainedTokenizerBase,
    dtype: torch.dtype,
    texts: Mapping[str, str],
) -> Path:
    """Write a `save_pretrained` folder with these weights, stored in `dtype`.

    Args:
        texts: Further files by name, such as the model card.

    Returns:
        The path of the weights.

    Raises:
        ExportError: The disk is full or not writable.
    """
    temporary = folder / _TEMPORARY
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        _save_model(temporary, model, weights, dtype)
        _save_tokenizer(temporary, tokenizer, longest_tokens(model, tokenizer))
        for name, text in texts.items():
            (temporary / name).write_text(text, encoding="utf-8")
        _move_files(temporary, folder)
    except (OSError, SafetensorError) as error:
        raise ExportError(
            f"cannot write the model to {folder}: {error}. "
            "Free disk space, then run the same command"
        ) from error
    return folder / WEIGHTS


def _save_model(
    folder: Path, model: PreTrainedModel, weights: Mapping[str, torch.Tensor], dtype: torch.dtype
) -> None:
    torch.nn.Module.float(model).load_state_dict(dict(weights), strict=False)
    torch.nn.Module.to(model, device="cpu", dtype=dtype)
    model.save_pretrained(folder)
    # The weights are stored in half the bytes, but loaders compute in float32 by default: float16
    # arithmetic is slow or missing on many CPUs.
    path = folder / "config.json"
    config: dict[str, object] = json.loads(path.read_text(encoding="utf-8"))
    config.pop("_name_or_path", None)
    config["dtype"] = "float32"
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _save_tokenizer(folder: Path, tokenizer: PreTrainedTokenizerBase, longest: int | None) -> None:
    # A program that loads only tokenizer.json must not inherit the truncation of this training.
    remove_limits(tokenizer)
    if longest is not None:
        tokenizer.model_max_length = longest
    tokenizer.save_pretrained(folder)
    # Transformers 5 writes a class name that Transformers 4 does not know. It reads the old name.
    path = folder / "tokenizer_config.json"
    config = path.read_text(encoding="utf-8")
    path.write_text(config.replace('"TokenizersBackend"', '"PreTrainedTokenizerFast"'), "utf-8")


def _move_files(temporary: Path, folder: Path) -> None:
    last = temporary / WEIGHTS
    for path in [*sorted(set(temporary.iterdir()) - {last}), last]:
        # safetensors creates files that only their owner can read; others should load the model.
        path.chmod(0o644)
        path.replace(folder / path.name)
    sync_folder(folder)
    temporary.rmdir()
