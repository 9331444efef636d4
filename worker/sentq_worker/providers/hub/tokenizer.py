"""How long texts are split for the Hub: by the model's tokenizer, or else by characters."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

from tokenizers import Tokenizer

from sentq_worker.engine.base import ModelUnavailable
from sentq_worker.inference.model_config import DEFAULT_WINDOW_TOKENS, configured_window_tokens
from sentq_worker.inference.model_files import fetch_tokenizer, find_model
from sentq_worker.providers.hub.windows import Windower, window_by_chars, window_by_tokens
from sentq_worker.settings import HubSettings, WorkerSettings

__all__ = ["make_windower"]

logger = logging.getLogger(__name__)


def make_windower(worker: WorkerSettings, settings: HubSettings) -> Windower:
    """Make the function that splits long texts.

    It splits them as the local engine does, if the model's tokenizer is available.
    """
    by_chars = partial(window_by_chars, window_chars=settings.window_chars)
    folder = _tokenizer_folder(worker, settings)
    if folder is None:
        logger.warning(
            "the tokenizer of the Hub's model is not available: texts of more than %d characters "
            "are split by characters, and outcomes count no tokens",
            settings.window_chars,
        )
        return by_chars
    return window_by_tokens(
        Tokenizer.from_file(str(folder / "tokenizer.json")),
        window_tokens=min(
            configured_window_tokens(folder), worker.window_tokens or DEFAULT_WINDOW_TOKENS
        ),
        overlap_tokens=worker.window_overlap_tokens,
        otherwise=by_chars,
    )


def _tokenizer_folder(worker: WorkerSettings, settings: HubSettings) -> Path | None:
    """Return the folder of tokenizer.json: the local model's, or one fetched from the Hub."""
    if worker.provider != "hub" or worker.model is not None:
        try:
            folder = find_model(worker.model, worker.revision).folder
        except ModelUnavailable:
            pass
        else:
            return folder if (folder / "tokenizer.json").is_file() else None
    return None if settings.model is None else fetch_tokenizer(settings.model)
