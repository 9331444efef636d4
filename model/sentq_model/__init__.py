"""The sentiment model that sentq uses when none is configured.

An ordinary `save_pretrained` folder, so anything that loads Transformers models can use it:

    import sentq_model
    pipeline("sentiment-analysis", model=sentq_model.folder())
"""

from pathlib import Path

__all__ = ["folder"]


def folder() -> str:
    """The folder that holds config, tokenizer, weights and model card."""
    return str(Path(__file__).parent / "weights")
