"""Load a model: a plain BERT with torch alone, any other with Transformers.

Transformers takes two seconds to import, and some 200 MB. Both give the same logits and tokens:
`tests/worker/inference/test_plain_bert.py` compares them.
"""

from __future__ import annotations

import logging

from sentq_worker.inference.loading.loaded import LoadedModel
from sentq_worker.inference.loading.plain_files import NotPlain, load_plain
from sentq_worker.inference.model_files import ModelFiles

__all__ = ["load_model"]

logger = logging.getLogger(__name__)


def load_model(files: ModelFiles) -> LoadedModel:
    """Load a model to the CPU and for inference, in fp32 or in the dtype of its file.

    Raises:
        ModelUnavailable: The files are not a sequence-classification model, or cannot be loaded
            without running code from the model's repository.
    """
    try:
        return load_plain(files.folder)
    except NotPlain as reason:
        logger.debug("%s is read by Transformers: %s", files.name, reason)
    from sentq_worker.inference.loading.with_transformers import load_with_transformers

    return load_with_transformers(files)
