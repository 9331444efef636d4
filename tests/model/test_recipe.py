"""The bundled model's recipe: its tokenizer, and the statements of its training."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sentq_worker.training.model.base import load_model, load_tokenizer
from sentq_worker.training.model.export import export
from tests.support.models.tiny import LABELS, make_tiny_model

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_RECIPE = Path(__file__).parents[2] / "model" / "recipe"
_WORDS = ("user", "http", "don", "haha", "love", "great", "hi", "mail", "com", "org")


def run_step(name: str, *arguments: Path) -> None:
    subprocess.run([sys.executable, _RECIPE / name, *arguments], check=True)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The export of a prepared base model."""
    import torch

    folder = tmp_path_factory.mktemp("recipe")
    body = make_tiny_model(folder / "body", words=_WORDS)
    run_step("base.py", body, folder / "base")
    model = load_model(str(folder / "base"), labels=LABELS)
    weights = {name: one.detach() for name, one in model.named_parameters()}
    tokenizer = load_tokenizer(str(folder / "base"))
    export(
        folder / "model",
        model=model,
        weights=weights,
        tokenizer=tokenizer,
        dtype=torch.float16,
        texts={},
    )
    return folder / "model"


@pytest.fixture(scope="module")
def tokenizer(exported: Path) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    loaded: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(exported)
    return loaded


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("@John_Doe: hi", "@ user : hi"),
        ("hi @john @mary", "hi @ user @ user"),
        ("john@mail.com", "j ##o ##h ##n @ mail . com"),
        ("hi https://t.co/x?a=1 www.mail.org/hi", "hi http http"),
        ("do n't", "don ' t"),
        ("don\u2019t", "don ' t"),
        ("-LRB- hi -rrb-", "( hi )"),
        ("hi😂😂", "hi haha haha"),
        ("I ❤️ mail 👍🏽", "i love mail great [UNK]"),
    ],
)
def test_stock_transformers_reads_names_links_and_emoji_as_special_tokens(
    text: str, read: str, tokenizer: PreTrainedTokenizerBase
) -> None:
    assert " ".join(tokenizer.tokenize(text)) == read


def test_both_major_versions_of_transformers_find_the_tokenizer_class(exported: Path) -> None:
    config = json.loads((exported / "tokenizer_config.json").read_text())
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert config["model_max_length"] == 64


def test_an_engine_tokenizes_like_stock_transformers(
    exported: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    from sentq_worker.inference.model import LocalEngine
    from sentq_worker.inference.model_files import find_model

    engine = LocalEngine(find_model(str(exported)), device="cpu", threads=1)
    text = "@John do n't 😂 https://t.co/x"
    assert engine.tokenizer.encode(text).ids == tokenizer(text)["input_ids"]


def test_the_statements_are_reproducible_and_unique(tmp_path: Path) -> None:
    for name in ("first.jsonl.gz", "second.jsonl.gz"):
        run_step("statements.py", tmp_path / name)
    first = (tmp_path / "first.jsonl.gz").read_bytes()
    assert first == (tmp_path / "second.jsonl.gz").read_bytes()
    rows = [json.loads(line) for line in gzip.decompress(first).splitlines()]
    assert len({row["text"] for row in rows}) == len(rows) > 10_000
    assert not any(mark in row["text"] for row in rows for mark in "[]{}|")
    labels = Counter(row["label"] for row in rows)
    assert set(labels) == set(LABELS)
    assert min(labels.values()) > 2_500
