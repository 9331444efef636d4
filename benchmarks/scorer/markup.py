"""Leave the HTML out of reviews: sentq's reader, the standard library's parser, and lxml.

    python -m benchmarks.scorer.markup [--json]

`*_mb_per_s` is the rate for reviews as a shop sends them, `*_hostile_s` the processor time for one
text of 20,000 characters that was written to be slow, and `*_growth` how many times as long it
takes as one of 10,000. lxml is measured where it is installed; it does not say where a character
stood.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Final

from benchmarks.figures import argument_parser, show
from benchmarks.texts import make_texts
from sentq_worker.scoring.markup import without_html

_HOSTILE: Final = "<a "
_REPEATS: Final = 5


class _TextParser(HTMLParser):
    """Collects the text of a document, and where it stood."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=False)
        self.parts: list[tuple[str, tuple[int, int]]] = []

    def handle_data(self, data: str) -> None:
        self.parts.append((data, self.getpos()))


def _html_parser(text: str) -> None:
    parser = _TextParser()
    parser.feed(text)
    parser.close()


def _lxml(text: str) -> None:
    from lxml import html

    html.fromstring(text).text_content()


def main() -> None:
    """Print the figures: one per line, or one JSON object."""
    options = argument_parser(__doc__).parse_args()
    ways: dict[str, Callable[[str], object]] = {"sentq": without_html, "html_parser": _html_parser}
    if importlib.util.find_spec("lxml"):
        ways["lxml"] = _lxml
    reviews = [_review(text) for text in make_texts(1000)]
    megabytes = sum(map(len, reviews)) / 1e6
    figures: dict[str, object] = {"reviews": len(reviews), "megabytes": round(megabytes, 2)}
    for name, way in ways.items():
        best_s = min(_cpu_s(way, reviews) for _ in range(_REPEATS))
        short_s, long_s = (_cpu_s(way, [(_HOSTILE * n)[:n]]) for n in (10_000, 20_000))
        figures[f"{name}_mb_per_s"] = round(megabytes / best_s, 1)
        figures[f"{name}_hostile_s"] = round(long_s, 4)
        figures[f"{name}_growth"] = round(long_s / short_s, 1)
    show(figures, as_json=options.json)


def _cpu_s(way: Callable[[str], object], texts: list[str]) -> float:
    started = time.process_time()
    for text in texts:
        way(text)
    return time.process_time() - started


def _review(text: str) -> str:
    """Return a text with the markup of a review."""
    sentences = text.replace("&", "&amp;").split(". ")
    body = "</p><p>".join(sentences).replace(" very ", " <b>very</b> ")
    return f'<div class="review" data-stars="4"><p>{body}</p><br/>&mdash; a&nbsp;customer</div>'


if __name__ == "__main__":
    main()
