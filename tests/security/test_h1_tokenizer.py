"""A text costs time in proportion to its length, for any characters."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from sentq.contract import MAX_CHARS_PER_TEXT
from sentq_worker.inference.model_files import find_model
from sentq_worker.scoring.tokenizer_cost import adversarial_texts, find_slow_input, likely_texts

pytestmark = pytest.mark.unit

#: The rule that the bundled tokenizer had, and the one that took its place.
_QUADRATIC = r"\s+(?=n't\b)"
_LINEAR = r"(?<!\s)\s+(?=n't\b)"

#: Characters out of which random texts are made: those that the rules look for.
_ALPHABET = [*" \t\n\xa0n't'@.wh:/-lrb)(aA0\u2019\U0001f600", "n't", " n't", "https://", "-lrb-"]


@pytest.fixture(scope="module")
def bundled() -> Tokenizer:
    return Tokenizer.from_file(str(find_model(None).folder / "tokenizer.json"))


@pytest.fixture(scope="module")
def with_the_old_rule() -> Tokenizer:
    file = find_model(None).folder / "tokenizer.json"
    document = json.loads(Path(file).read_text(encoding="utf-8"))
    rules = document["normalizer"]["normalizers"]
    (rule,) = (rule for rule in rules if rule.get("pattern") == {"Regex": _LINEAR})
    rule["pattern"] = {"Regex": _QUADRATIC}
    return Tokenizer.from_str(json.dumps(document))


def _random_texts(count: int, *, chars: int, seed: int = 7) -> list[str]:
    chance = random.Random(seed)
    return ["".join(chance.choices(_ALPHABET, k=chars))[:chars] for _ in range(count)]


@pytest.mark.slow
def test_no_text_costs_the_bundled_tokenizer_far_more_than_prose(bundled: Tokenizer) -> None:
    texts = [
        *adversarial_texts(MAX_CHARS_PER_TEXT),
        *(("a random mix", text) for text in _random_texts(10, chars=MAX_CHARS_PER_TEXT)),
    ]
    assert find_slow_input(bundled.encode, texts, max_ratio=20) is None


def test_the_probe_finds_a_quadratic_rule(with_the_old_rule: Tokenizer) -> None:
    slow = find_slow_input(with_the_old_rule.encode)
    assert slow is not None
    assert "repeated, then x n't" in slow.name
    assert slow.ratio > 15


def test_the_probe_at_start_finds_nothing_slow_in_the_bundled_tokenizer(bundled: Tokenizer) -> None:
    assert find_slow_input(bundled.encode) is None
    assert sum(len(text) for _, text in likely_texts(1_000)) < 60_000, "a start must stay short"


def test_the_linear_rule_reads_texts_as_the_quadratic_one(
    bundled: Tokenizer, with_the_old_rule: Tokenizer
) -> None:
    texts = _random_texts(3_000, chars=60)
    now = [encoding.ids for encoding in bundled.encode_batch(texts)]
    before = [encoding.ids for encoding in with_the_old_rule.encode_batch(texts)]
    assert now == before
