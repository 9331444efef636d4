"""Writes the finished model's folder, whole or not at all.

All files are written aside and moved in, model.safetensors last: a folder that has one is
complete. Until then the checkpoint stays, and the same command exports again.
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError

from sentq_worker.training.errors import ExportError
from sentq_worker.training.files import sync_folder
from sentq_worker.training.model.base import forget_limits, longest_tokens

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["WEIGHTS", "export"]

WEIGHTS = "model.safetensors"

_ASIDE = ".export"


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

    `texts` are further files by name (the card, the record). Returns the path of the weights.

    Raises:
        ExportError: the disk is full or not writable.
    """
    aside = folder / _ASIDE
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        _save_model(aside, model, weights, dtype)
        _save_tokenizer(aside, tokenizer, longest_tokens(model, tokenizer))
        for name, text in texts.items():
            (aside / name).write_text(text, encoding="utf-8")
        _move_in(aside, folder)
    except (OSError, SafetensorError) as error:
        raise ExportError(
            f"cannot write the model to {folder}: {error}. Make room, then give the same command"
        ) from error
    return folder / WEIGHTS


def _save_model(
    folder: Path, model: PreTrainedModel, weights: Mapping[str, torch.Tensor], dtype: torch.dtype
) -> None:
    torch.nn.Module.float(model).load_state_dict(dict(weights), strict=False)
    torch.nn.Module.to(model, device="cpu", dtype=dtype)
    model.save_pretrained(folder)
    # Stored in half the bytes, computed in float32 unless the loader asks for something else:
    # float16 arithmetic is slow or missing on many CPUs.
    path = folder / "config.json"
    config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    config.pop("_name_or_path", None)
    config["dtype"] = "float32"
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _save_tokenizer(folder: Path, tokenizer: PreTrainedTokenizerBase, longest: int | None) -> None:
    # Whoever loads tokenizer.json alone must get whole texts, not this training's cut.
    forget_limits(tokenizer)
    if longest is not None:
        tokenizer.model_max_length = longest
    tokenizer.save_pretrained(folder)
    # Transformers 5 writes a class that Transformers 4 does not know, and reads its old name.
    path = folder / "tokenizer_config.json"
    config = path.read_text(encoding="utf-8")
    path.write_text(config.replace('"TokenizersBackend"', '"PreTrainedTokenizerFast"'), "utf-8")


def _move_in(aside: Path, folder: Path) -> None:
    last = aside / WEIGHTS
    for path in [*sorted(set(aside.iterdir()) - {last}), last]:
        # safetensors files come readable by their owner only; a model is there to be shared.
        path.chmod(0o644)
        path.replace(folder / path.name)
    sync_folder(folder)
    aside.rmdir()
