"""Whether the time of a tokenizer grows with the length of a text, or faster.

A normaliser or pre-tokenizer may hold a regular expression whose time grows with the square of a
run of equal characters. One text of 100,000 characters then keeps a worker busy for half a minute.
`find_slow_input` tokenises runs over which such expressions stumble, and compares their CPU time
with that of prose.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

__all__ = ["SlowInput", "adversarial_texts", "find_slow_input", "likely_texts"]

#: The whitespace of Unicode, as `\s` of Onigmo and of Rust's regex match it.
_WHITESPACE: Final = (
    " \t\n\r\f\v\x1c\x85\xa0\u1680\u2000\u2003\u2007\u2009\u2028\u2029\u202f\u205f\u3000"
)

#: A character of each class that tokenizers treat in a way of its own.
_CHARACTERS: Final = (
    "!.,;:'\"`-_/\\|@#$%^&*()[]{}<>=+~?\u2019\u2026\u3002\uff01"
    "aA0\u4e2d\uac00\u0301\u200d\u200b\ufe0f\ufffd\U0001f600"
)

#: Beginnings of the patterns that tokenizers hold. Repeated, each begins a match that fails.
_NEAR_MATCHES: Final = (
    *("n't", " n't", "n' t", " n'", "  n't", "'s", "'ll ", "' "),
    *("http", "http:/", "https://", "www", "www.", "https://a ", "://"),
    *("@", "@@", "@a", "a@", ".@", "#", "##", "&amp", "&#", "<a", "-lrb", "-lrb-", "-LRB", "-rrb"),
    *("a\u0301", "e\u0301\u0301", "\U0001f468\u200d", "\U0001f3fd", "1,", "1.", "1 ", "a1", "A a"),
)

_PROSE: Final = (
    "The room was clean and quiet, and the people at the desk didn't mind that we came late. "
    "Breakfast wasn't much: bread, two kinds of jam, coffee. I'd stay there again, though! "
)

#: How many times slower than prose a text may be. A token for each character costs 4 to 6 times as
#: much as prose. The quadratic expression that the bundled tokenizer once had cost 24 to 56 times
#: as much at 5,000 characters, 97 times at 20,000.
_MAX_RATIO: Final = 15.0

#: Long enough to tell quadratic from linear, and short enough for the start of a worker.
_PROBE_CHARS: Final = 5_000

#: A text takes about a millisecond; a pause of the process must not look like an expression.
_MIN_S: Final = 0.01


class SlowInput(NamedTuple):
    """An input that costs far more than prose of its length: how it is made, and how many times
    as much it costs."""

    name: str
    ratio: float


def adversarial_texts(chars: int) -> Iterator[tuple[str, str]]:
    """Yield texts of about so many characters, each with a name that says how it is made."""
    for unit in (*_WHITESPACE, *_CHARACTERS, *_NEAR_MATCHES):
        run = unit * (chars // len(unit))
        yield f"{unit!a} repeated", run
        yield f"{unit!a} between letters", f"a{run[:-2]}b"
        yield f"{unit!a} repeated, then x n't", f"{run[:-5]}x n't"


def likely_texts(chars: int) -> Iterator[tuple[str, str]]:
    """Yield the few of the adversarial texts that a worker can try as it starts: runs of whitespace
    and of near matches, each before a letter."""
    for unit in (*" \t\n\xa0\u3000", *_NEAR_MATCHES):
        yield f"{unit!a} repeated, then x n't", f"{(unit * (chars // len(unit)))[:-5]}x n't"


def find_slow_input(
    tokenise: Callable[[str], object],
    texts: Iterable[tuple[str, str]] | None = None,
    *,
    max_ratio: float = _MAX_RATIO,
) -> SlowInput | None:
    """Return the first input that costs more than `max_ratio` times as much CPU time as prose.

    Args:
        tokenise: Tokenises one text, in the calling thread.
        texts: Names and texts to try, all of about one length; None tries `likely_texts`.
        max_ratio: How many times slower than prose a text may be.

    Returns:
        The input; None if all are cheap enough, so that the time of the tokenizer is linear.
    """
    prose_s = _cpu_s_per_char(tokenise, _PROSE * 50, times=3)
    for name, text in texts or likely_texts(_PROBE_CHARS):
        limit_s = max(max_ratio * prose_s * len(text), _MIN_S)
        # Once more before it counts: the first call may have waited for memory.
        if all(_cpu_s_per_char(tokenise, text) * len(text) > limit_s for _ in range(2)):
            return SlowInput(name, _cpu_s_per_char(tokenise, text) / prose_s)
    return None


def _cpu_s_per_char(tokenise: Callable[[str], object], text: str, *, times: int = 1) -> float:
    taken_s = float("inf")
    for _ in range(times):
        started = time.thread_time()
        tokenise(text)
        taken_s = min(taken_s, time.thread_time() - started)
    return max(taken_s, 1e-7) / len(text)
