"""Load any sequence-classification model that Transformers knows."""

from __future__ import annotations

from typing import cast

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer
from transformers.utils.logging import disable_progress_bar

from sentq_worker.engine.base import ModelUnavailable
from sentq_worker.inference.classifier import Classifier
from sentq_worker.inference.loading.loaded import LoadedModel
from sentq_worker.inference.model_files import ModelFiles

__all__ = ["load_with_transformers"]


def load_with_transformers(files: ModelFiles) -> LoadedModel:
    """Load a model to the CPU, in fp32 and for inference.

    Raises:
        ModelUnavailable: The files are not a sequence-classification model, or cannot be loaded
            without running code from the model's repository.
    """
    # The progress bars would become lines of the worker's log.
    disable_progress_bar()
    options = {"trust_remote_code": False, "local_files_only": True}
    try:
        config = AutoConfig.from_pretrained(files.folder, **options)
        tokenizer = AutoTokenizer.from_pretrained(files.folder, **options)
        model, loading = AutoModelForSequenceClassification.from_pretrained(
            files.folder,
            config=config,
            # A config.json may name a kernel, which transformers would fetch and run.
            attn_implementation=None,
            dtype=torch.float32,
            use_safetensors=True,
            output_loading_info=True,
            **options,
        )
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        raise ModelUnavailable(f"{files.name} cannot be loaded: {error}") from error
    if missing := sorted(loading["missing_keys"]):
        # Transformers fills them with random numbers: the scores would be random.
        raise ModelUnavailable(
            f"{files.name} is not trained to classify: it has no {', '.join(missing[:3])}"
        )
    if not any((files.folder / name).is_file() for name in tokenizer.vocab_files_names.values()):
        # Transformers makes an empty tokenizer: every word would be unknown.
        raise ModelUnavailable(f"{files.name} has no tokenizer (tokenizer.json)")
    if not tokenizer.is_fast:
        raise ModelUnavailable(f"{files.name} has no fast tokenizer (tokenizer.json)")
    return LoadedModel(
        cast("Classifier", model.eval()), tokenizer.backend_tokenizer, tokenizer.model_max_length
    )
