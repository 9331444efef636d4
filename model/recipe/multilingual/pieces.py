"""Choose the pieces of the vocabulary that the multilingual model keeps.

Kept are the special tokens, the single characters of the scripts that the model is for, and of the
others those that are most frequent in any one language or source: a piece counts with its largest
share. So a language with few texts keeps its words too.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tokenizers import Tokenizer

__all__ = ["choose", "shares"]

#: The first and the last piece: `<s>`, `<pad>`, `</s>`, `<unk>`, and `<mask>`.
_FIRST_SPECIAL: Final = 4

_SCRIPTS: Final = {"ARABIC", "CYRILLIC", "DEVANAGARI", "GREEK", "HEBREW", "LATIN"}

#: What begins a word.
_SPACE: Final = "\u2581"


def choose(pieces: Sequence[str], used: Iterable[Mapping[int, float]], *, count: int) -> list[int]:
    """Return the ids of `count` pieces in their order; see the module.

    Args:
        pieces: All pieces, by id.
        used: By language or source: the share of each id, as `shares` returns it.
    """
    special = {*range(_FIRST_SPECIAL), len(pieces) - 1}
    kept = special | {number for number, piece in enumerate(pieces) if _is_needed(piece)}
    best: dict[int, float] = {}
    for each in used:
        for number, share in each.items():
            best[number] = max(best.get(number, 0.0), share)
    ranked = sorted(best.keys() - kept, key=lambda number: (-best[number], number))
    return sorted(kept | set(ranked[: count - len(kept)]))


def shares(
    texts: Iterable[tuple[str, float]], tokenizer: Tokenizer, *, above: float = 0.0
) -> dict[int, float]:
    """Return the share of each id in texts, each of which counts with its weight.

    Ids whose weights add up to `above` or less are left out.
    """
    weighted = list(texts)
    encoded = tokenizer.encode_batch([text for text, _ in weighted], add_special_tokens=False)
    sums: defaultdict[int, float] = defaultdict(float)
    for (_, weight), tokens in zip(weighted, encoded, strict=True):
        for number in tokens.ids:
            sums[number] += weight
    total = sum(sums.values())
    return {number: each / total for number, each in sums.items() if each > above}


def _is_needed(piece: str) -> bool:
    """Tell whether a piece is one character of these scripts, a digit, a sign or an emoji."""
    character = piece.replace(_SPACE, "")
    if len(character) != 1:
        return not character
    if unicodedata.category(character)[0] not in "LM":
        return True
    return unicodedata.name(character, "?").split()[0] in _SCRIPTS
