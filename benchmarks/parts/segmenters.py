"""Segmenters side by side: exact sentences of the labelled reviews, speed, hostile texts.

Those that are not installed are left out:

    pip install blingfire nltk pysbd sentencex syntok uniseg
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import multiprocessing.connection
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from benchmarks.parts.reviews import LabelledReview
from sentq_worker.scoring.segments import find_spans

__all__ = ["compare_segmenters"]

Spans = Iterable[tuple[int, int]]
Segmenter = Callable[[str], Spans]

_HOSTILE_CHARS: Final = 65_536
_MOST_S: Final = 60

#: What is repeated to make a hostile text.
_HOSTILE: Final = (
    *(".", "word ", "a. ", "(", '"', "(a) ", "'a ", "\n", "Dr. ", "1.", "... ", "!? ", " "),
    *("A.B.", "a", ".)", "http://a.b/ ", "e.g. "),
)


def _sentq() -> Segmenter:
    return lambda text: find_spans(text, "sentences")


def _sentencex() -> Segmenter:
    from sentencex import get_sentence_boundaries

    def segment(text: str) -> Spans:
        found = get_sentence_boundaries("en", text)
        return [(each["start_index"], each["end_index"]) for each in found]

    return segment


def _blingfire() -> Segmenter:
    from blingfire import text_to_sentences_and_offsets

    return lambda text: text_to_sentences_and_offsets(text)[1]


def _pysbd() -> Segmenter:
    from pysbd import Segmenter as Pysbd

    segmenter = Pysbd(language="en", clean=False, char_span=True)
    return lambda text: [(each.start, each.end) for each in segmenter.segment(text)]


def _nltk() -> Segmenter:
    # Without its trained parameters, which are a download of their own.
    from nltk.tokenize.punkt import PunktSentenceTokenizer

    return lambda text: PunktSentenceTokenizer().span_tokenize(text)


def _syntok() -> Segmenter:
    from syntok import segmenter

    def segment(text: str) -> Iterator[tuple[int, int]]:
        for paragraph in segmenter.analyze(text):
            for tokens in paragraph:
                yield tokens[0].offset, tokens[-1].offset + len(tokens[-1].value)

    return segment


def _uniseg() -> Segmenter:
    from uniseg.sentencebreak import sentences

    def segment(text: str) -> Iterator[tuple[int, int]]:
        start = 0
        for sentence in sentences(text):
            yield start, start + len(sentence)
            start += len(sentence)

    return segment


_SEGMENTERS: Final[dict[str, Callable[[], Segmenter]]] = {
    "sentq": _sentq,
    "sentencex": _sentencex,
    "blingfire": _blingfire,
    "pysbd": _pysbd,
    "nltk": _nltk,
    "syntok": _syntok,
    "uniseg": _uniseg,
}


def compare_segmenters(reviews: list[LabelledReview]) -> Iterator[tuple[str, float]]:
    """Yield figures of each segmenter that is installed, with their names.

    `f1`: of the sentences that begin and end exactly where a labelled one does, whitespace around
    them aside. `chars_per_s`. `hostile_s`: the longest CPU time for a hostile text of 65,536
    characters; infinite above a minute.
    """
    for name, make in _SEGMENTERS.items():
        if name != "sentq" and importlib.util.find_spec(name) is None:
            continue
        segment = make()
        found = [set(_trimmed(review.text, segment(review.text))) for review in reviews]
        expected = [{(each.start, each.end) for each in review.sentences} for review in reviews]
        both = sum(len(a & b) for a, b in zip(found, expected, strict=True))
        yield f"{name}_f1", round(2 * both / sum(map(len, found + expected)), 3)
        yield f"{name}_chars_per_s", round(_chars_per_s(segment, reviews))
        yield f"{name}_hostile_s", _hostile_s(name)


def _trimmed(text: str, spans: Spans) -> Iterator[tuple[int, int]]:
    for start, end in spans:
        piece = text[start:end]
        first = start + len(piece) - len(piece.lstrip())
        if piece.strip():
            yield first, first + len(piece.strip())


def _chars_per_s(segment: Segmenter, reviews: list[LabelledReview]) -> float:
    chars = sum(len(review.text) for review in reviews)
    best_s = float("inf")
    for _ in range(3):
        started = time.process_time()
        for review in reviews:
            list(segment(review.text))
        best_s = min(best_s, time.process_time() - started)
    return chars / best_s


def _hostile_s(name: str) -> float:
    """Return the longest time for a hostile text. A process that takes too long is ended."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measure_hostile, args=(name, sender))
    process.start()
    sender.close()
    longest_s = 0.0
    for _ in _HOSTILE:
        if not receiver.poll(_MOST_S):
            longest_s = float("inf")
            break
        longest_s = max(longest_s, receiver.recv())
    process.kill()
    process.join()
    return round(longest_s, 3)


def _measure_hostile(name: str, sender: multiprocessing.connection.Connection) -> None:
    segment = _SEGMENTERS[name]()
    for unit in _HOSTILE:
        text = (unit * _HOSTILE_CHARS)[:_HOSTILE_CHARS]
        started = time.process_time()
        list(segment(text)) if text.strip() else None
        sender.send(time.process_time() - started)
