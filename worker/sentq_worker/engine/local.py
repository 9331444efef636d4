"""The local engine: a Transformers sequence-classification model in this process."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer
from transformers.utils.logging import disable_progress_bar

from sentq_worker.engine.base import EngineInfo, ModelUnavailable, Window
from sentq_worker.engine.device import choose_device
from sentq_worker.engine.files import ModelFiles

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["LocalEngine"]

logger = logging.getLogger(__name__)

#: Families whose positions start behind the padding token's: they read that many tokens less.
_OFFSET_POSITIONS: Final = {"roberta", "xlm-roberta", "camembert", "xlm-roberta-xl", "mpnet"}

#: Windows of the warm-up, in tokens: the first passes allocate and choose kernels.
_WARM_UP_TOKENS: Final = (8, 64, 256)


class LocalEngine:
    """Holds a loaded model. One thread at a time may use it.

    Raises:
        ModelUnavailable: The files are no sequence-classification model that can be loaded
            without running code from the model's repository.
        DeviceUnavailable: The device is not there.
    """

    def __init__(
        self, files: ModelFiles, *, device: str = "auto", dtype: str = "auto", threads: int | None
    ) -> None:
        self._device = choose_device(device)
        if threads is not None:
            torch.set_num_threads(threads)
        # fp32 on every device until another dtype has been measured to be worth its error.
        self._dtype = torch.float32 if dtype == "auto" else getattr(torch, dtype)
        self._model, self._config, wrapper = _load(files, self._dtype)
        self._model.to(self._device)
        self.tokenizer: Tokenizer = wrapper.backend_tokenizer
        self.special_tokens: int = wrapper.num_special_tokens_to_add()
        self.window_tokens = _window_tokens(self._config, wrapper.model_max_length)
        self._pad_id: int = wrapper.pad_token_id or 0
        self._is_multi_label = (
            self._config.problem_type == "multi_label_classification"
            or self._config.num_labels == 1
        )
        self.info = EngineInfo(
            model=files.name,
            revision=files.revision,
            backend=f"local:{self._device}",
            dtype=str(self._dtype).removeprefix("torch."),
            labels=tuple(self._config.id2label[i] for i in range(self._config.num_labels)),
        )

    def warm_up(self) -> None:
        """Run a few passes, so that the first job does not pay for them."""
        for wanted_tokens in _WARM_UP_TOKENS:
            tokens = min(wanted_tokens, self.window_tokens)
            self.predict([Window([self._pad_id] * tokens, tokens)] * 2)

    def predict(self, batch: Sequence[Window]) -> list[list[float]]:
        """See `Engine.predict`."""
        longest = max(len(window.token_ids) for window in batch)
        ids = torch.full((len(batch), longest), self._pad_id, dtype=torch.long)  # (B, T)
        mask = torch.zeros_like(ids)
        for row, window in enumerate(batch):
            ids[row, : len(window.token_ids)] = torch.tensor(window.token_ids)
            mask[row, : len(window.token_ids)] = 1
        with torch.inference_mode():
            logits = self._model(
                input_ids=ids.to(self._device), attention_mask=mask.to(self._device)
            ).logits.float()  # (B, labels)
            probabilities = logits.sigmoid() if self._is_multi_label else logits.softmax(-1)
            rows: list[list[float]] = probabilities.cpu().tolist()
        return rows


def _load(files: ModelFiles, dtype: torch.dtype) -> tuple[Any, Any, Any]:
    # Its bars would end up as lines in the worker's log.
    disable_progress_bar()
    options: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
    try:
        config = AutoConfig.from_pretrained(files.folder, **options)
        wrapper = AutoTokenizer.from_pretrained(files.folder, **options)
        model = AutoModelForSequenceClassification.from_pretrained(
            files.folder, dtype=dtype, use_safetensors=True, **options
        )
    except (OSError, ValueError, KeyError) as error:
        raise ModelUnavailable(f"{files.name} cannot be loaded: {error}") from error
    if not wrapper.is_fast:
        raise ModelUnavailable(f"{files.name} has no fast tokenizer (tokenizer.json)")
    return model.eval(), config, wrapper


def _window_tokens(config: Any, tokenizer_limit: int) -> int:
    """The most tokens the model can read at once; a tokenizer without a limit says 1e30."""
    positions: int | None = getattr(config, "max_position_embeddings", None)
    if positions is None:
        return min(tokenizer_limit, 512)
    if config.model_type in _OFFSET_POSITIONS:
        positions -= (config.pad_token_id or 0) + 1
    return min(tokenizer_limit, positions)
