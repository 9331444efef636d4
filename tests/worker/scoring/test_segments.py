"""Sentences and paragraphs: where they are, how many at most, and in which time."""

from __future__ import annotations

import time
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentq.contract import DETAILS, MAX_PARTS_PER_TEXT, Detail
from sentq_worker.scoring.segments import find_spans
from sentq_worker.scoring.tokenizer_cost import adversarial_texts


def _parts(text: str, detail: Detail = "sentences") -> list[str]:
    return [text[start:end] for start, end in find_spans(text, detail)]


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("Dr. Fox paid $2.50, i.e. too much. Bad!", ["Dr. Fox paid $2.50, i.e. too much.", "Bad!"]),
        ("  no stop at all\n", ["no stop at all"]),
        ("Love it! 😍😍 But... why?", ["Love it! 😍😍", "But... why?"]),
        ("!!! Wow.", ["!!! Wow."]),
        ("It broke. :( Never again.\n- Never!", ["It broke. :(", "Never again.", "- Never!"]),
        ("😍", ["😍"]),
        ("pros: light\ncons: breaks\n\nbuy it", ["pros: light", "cons: breaks", "buy it"]),
        (
            "This is a line that some mail has wrapped by\nhand. The end.",
            ["This is a line that some mail has wrapped by", "hand.", "The end."],
        ),
        (
            "This is a long line that some mail has wrapped by\nhand. The end.",
            ["This is a long line that some mail has wrapped by\nhand.", "The end."],
        ),
        (
            "\U0001f600 Good. Très bien! 很好。我喜欢。",
            ["\U0001f600 Good.", "Très bien!", "很好。", "我喜欢。"],
        ),
    ],
)
def test_sentences(text: str, sentences: list[str]) -> None:
    assert _parts(text) == sentences


def test_paragraphs_end_at_blank_lines_or_else_at_line_breaks() -> None:
    assert _parts("\n\na. b\nc\r\n \r\nd\n\n\n", "paragraphs") == ["a. b\nc", "d"]
    assert _parts("\na. b\nc\n", "paragraphs") == ["a. b", "c"]
    assert _parts("one\n\n---\n\ntwo", "paragraphs") == ["one\n\n---", "two"]


def test_neighbours_are_joined_if_there_are_too_many() -> None:
    text = "Good. " * 1000
    for detail in DETAILS:
        parts = _parts(text.replace(" ", "\n\n"), detail)
        assert len(parts) == 250
        assert set(parts) == {"Good.\n\nGood.\n\nGood.\n\nGood."}


@given(st.text(alphabet="ab.!? \n\t😍。\"'()\u00e9\r1", min_size=1, max_size=200))
def test_each_character_but_whitespace_is_in_one_part(text: str) -> None:
    if not text.strip():
        return
    for detail in get_args(Detail):
        end = 0
        for start, part_end in find_spans(text, detail):
            assert start >= end
            assert not text[end:start].strip()
            assert text[start:part_end] == text[start:part_end].strip() != ""
            end = part_end
        assert not text[end:].strip()


def test_no_text_takes_long() -> None:
    """A segmenter of regular expressions needs minutes for some of these."""
    more = (
        *(unit * (65_536 // len(unit)) for unit in ("a. ", ".)", ". (a) ", "A.B.", "\n.", "e.g. ")),
        *("word " * 13_107, "." * 65_536, "[" * 65_536, '"a. ' * 16_384),
    )
    for text in (*more, *(found for _, found in adversarial_texts(65_536))):
        if not text.strip():
            continue
        for detail in get_args(Detail):
            started = time.process_time()
            assert len(find_spans(text, detail)) <= MAX_PARTS_PER_TEXT
            # It takes 0.1 s at most; a square of the length would take minutes.
            assert time.process_time() - started < 2
