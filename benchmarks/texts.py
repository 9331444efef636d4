"""Seeded texts for benchmarks: English, with the lengths of real texts.

Most are short and a few are very long: a median of about 20 tokens, a mean of about 50, and a
tail beyond the 512 tokens that most models read at once. All texts differ, so that no score is
reused.
"""

from __future__ import annotations

import math
import random
from typing import Final

from sentq.cli.demo import load_reviews
from sentq.contract import check_words

__all__ = ["make_texts"]

#: In words: a word of the reviews has 1.3 tokens, with punctuation.
_MEDIAN_WORDS: Final = 16
_SPREAD: Final = 1.3
_MAX_WORDS: Final = 800


def make_texts(count: int, *, seed: int = 0) -> list[str]:
    """Return texts of words from the demo's reviews; their lengths are log-normal.

    The same `seed` gives the same texts.
    """
    rng = random.Random(seed)  # noqa: S311 - not a secret
    words = [word for review in load_reviews() for word in review.text.split()]
    texts: dict[str, None] = {}
    while len(texts) < count:
        length = round(rng.lognormvariate(math.log(_MEDIAN_WORDS), _SPREAD))
        begin = rng.randrange(len(words))
        taken = (words[begin:] + words)[: min(max(length, 1), _MAX_WORDS)]
        text = " ".join(taken)
        if check_words(text) is None:  # One word may be a number.
            texts[text] = None
    return list(texts)
