"""Seeded texts to measure with: English, of the lengths that people write.

Most are short and a few are very long: a median of about 20 tokens, a mean of about 50, and a
tail beyond the 512 that most models read at once. All of them differ, so that nothing is scored
once for two.
"""

from __future__ import annotations

import math
import random
from typing import Final

from sentq.cli.demo import load_reviews

__all__ = ["make_texts"]

#: Words: one of the reviews is 1.3 tokens, punctuation included.
_MEDIAN_WORDS: Final = 16
_SPREAD: Final = 1.3
_MOST_WORDS: Final = 800


def make_texts(count: int, *, seed: int = 0) -> list[str]:
    """Pieces of the demo's reviews, one after another, cut to lengths drawn from a log-normal."""
    rng = random.Random(seed)  # noqa: S311 - nothing secret
    words = [word for review in load_reviews() for word in review.text.split()]
    texts: dict[str, None] = {}
    while len(texts) < count:
        length = round(rng.lognormvariate(math.log(_MEDIAN_WORDS), _SPREAD))
        begin = rng.randrange(len(words))
        taken = (words[begin:] + words)[: min(max(length, 1), _MOST_WORDS)]
        texts[" ".join(taken)] = None
    return list(texts)
