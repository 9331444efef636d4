"""HTML is left out of texts, in time that grows with their length, and positions lead back."""

from __future__ import annotations

import html
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentq.contract import ErrorCode, Limits, TextError
from sentq_worker.scoring.markdown import without_markdown
from sentq_worker.scoring.markup import without_html
from sentq_worker.scoring.preprocess import read_text
from sentq_worker.settings import Cleaning

#: Pieces of HTML, whole and broken.
PIECES = [
    *("<p>", "</p>", "<br/>", "<b class='x'>", '<a href="x > y">', "<!-- c -->", "<!--", "-->"),
    *("<script>", "</script>", "<style>p{}</style>", "<", ">", "</", "<!", "<?", "'", '"', "&"),
    *(
        "&amp;",
        "&lt",
        "&#65;",
        "&#x1F600;",
        "&#xD800;",
        "&nothing;",
        "&#",
        "un",
        "happy",
        " ",
        "\n",
    ),
    *("\U0001f600", "é", "a<b", "<3", "<a ", "<![CDATA[", "]]>", "&amp;lt;"),
]

HTML = st.lists(st.sampled_from(PIECES)).map("".join)


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("plain", "plain"),
        ("<p>It is <b>un</b>believable.<br>Twice!</p>", "\nIt is unbelievable.\nTwice!\n"),
        ("<ul><li>one<li>two</ul>", "\n\none\ntwo\n"),
        ("<td>a</td><td>b</td>", "\na\n\nb\n"),
        ("fish &amp; chips&nbsp;&#8364;5 &#x20ac;6", "fish & chips\xa0\u20ac5 \u20ac6"),
        ("&amp;lt;p&amp;gt;", "&lt;p&gt;"),
        ("AT&T, R&D, &unknown; &#; &", "AT&T, R&D, &unknown; &#; &"),
        ("I <3 this, 1 < 2 > 0, a <- b", "I <3 this, 1 < 2 > 0, a <- b"),
        ("an open <b tag", "an open <b tag"),
        ("<a title=\"x > y\" href='>'>link</a>", "link"),
        ("<a 'open>quote</a> <i>in</i> a tag", "quote in a tag"),
        ("a<!-- <b>no</b> -->b<!DOCTYPE html>c<?php x ?>d", "abcd"),
        ("a<!-- open", "a"),
        ("<script>if (a<b) alert('</p>')</script>after", "after"),
        ("<STYLE>p{}</style >after<script src='x'/>too", "aftertoo"),
        ("<script>open", ""),
        ("</p>only an end", "\nonly an end"),
        ("&#0;&#xD800;&#9999999999;", "\ufffd\ufffd\ufffd"),
        ("<B>HAPPY</B>", "HAPPY"),
    ],
)
def test_what_stays_of_a_text(text: str, cleaned: str) -> None:
    assert without_html(text).text == cleaned


def test_positions_lead_to_the_original() -> None:
    text = "<p>Fish &amp; <b>chips</b></p>"
    clean = without_html(text)
    assert clean.text == "\nFish & chips\n"

    def original(part: str) -> str:
        start = clean.text.index(part)
        first, last = clean.original(start, start + len(part))
        return text[first:last]

    assert original("Fish") == "Fish"
    assert original("&") == "&amp;"
    assert original("chips") == "chips"
    assert original("h & c") == "h &amp; <b>c"
    assert original(clean.text) == text
    assert clean.original(1, 1) == (3, 3)
    assert clean.original(len(clean.text), len(clean.text)) == (len(text), len(text))


@given(HTML)
def test_each_character_stood_where_it_is_said_to_have_stood(text: str) -> None:
    clean = without_html(text)
    assert len(clean.text) <= len(text)
    end = 0
    for index, character in enumerate(clean.text):
        first, last = clean.original(index, index + 1)
        assert 0 <= first < last <= len(text)
        assert last >= end  # in order
        end = last
        source = text[first:last]
        assert character == source or character in html.unescape(source) or character == "\n"


@given(HTML)
def test_a_text_is_read_once(text: str) -> None:
    """What a reference stands for is text: `&lt;p&gt;` does not become a tag."""
    escaped = html.escape(text)
    assert without_html(escaped).text == text


@given(st.text())
def test_any_text_without_markup_stays(text: str) -> None:
    plain = text.replace("<", "").replace("&", "")
    assert without_html(plain).text == plain
    assert without_html(plain).original(0, len(plain)) == (0, len(plain))


@pytest.mark.parametrize(
    "piece",
    [
        *("<", "<!", "<!--", "<a ", "<a b='", '<a b="', "</", "</a ", "<?", "<![CDATA[", "<a/'"),
        *("<script>", "<style><!--", "<script></", "</script ", "<noscript>x</", "<script></scrip"),
        *(
            "&",
            "&#",
            "&#1",
            "&amp",
            "&a",
            "<a'\">",
            "<a '\" >",
            "<a",
            "'<a ",
            "<a =' >",
            "\U0001f600<a ",
        ),
    ],
)
def test_no_text_takes_long(piece: str) -> None:
    """A parser that takes the square of the length needs minutes for these."""
    text = (piece * 100_000)[:100_000]
    started = time.process_time()
    without_html(text)
    assert time.process_time() - started < 10


def _readable(text: str, limits: Limits, *, clean: Cleaning) -> str | TextError:
    found = read_text(text, limits, clean=clean)
    return found if isinstance(found, TextError) else found.readable


def test_limits_hold_for_the_text_as_it_was_sent_and_markup_alone_is_empty() -> None:
    limits = Limits(chars_per_text=20)

    def read(text: str) -> str | TextError:
        return _readable(text, limits, clean="html")

    assert read("<b>good</b>") == "good"
    too_long, empty = read("<b>" * 7 + "good"), read("<p> </p>")
    assert isinstance(too_long, TextError)
    assert isinstance(empty, TextError)
    assert (too_long.code, empty.code) == (ErrorCode.TEXT_TOO_LONG, ErrorCode.EMPTY_TEXT)
    assert _readable("<p> </p>", limits, clean="none") == "<p> </p>"


# --- Markdown --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("# Not *bad*\n\n**Very** __good__, ~~not~~ `code`", "Not bad\n\nVery good, not code"),
        ("> - [Best](http://a.b/c_d) ![pic](x.png)", "Best pic"),
        ("Heading\n===\na\n***\nb", "Heading\n\na\n\nb"),
        ("a\n```python\nx = **1**\n```\nb\n~~~\nopen", "a\n\n\n\nb\n\n"),
        ("un*happy* a_b \\*kept\\* 3 * 4 -1 +2 #1", "unhappy a_b *kept* 3 * 4 -1 +2 #1"),
        ("1. one\n* two<br>&amp; **three**", "1. one\ntwo\n& three"),
        ("[a](b(c)) [x] (y)", "[a](b(c)) [x] (y)"),
    ],
)
def test_what_stays_of_markdown(text: str, cleaned: str) -> None:
    assert without_markdown(text).text == cleaned


def test_positions_lead_through_markdown_and_html() -> None:
    text = "> **Good** food &amp;\n> [_bad_ service](http://a.b)"
    clean = without_markdown(text)

    def original(part: str) -> str:
        start = clean.text.index(part)
        first, last = clean.original(start, start + len(part))
        return text[first:last]

    assert [original(part) for part in ("Good", "&", "bad", "bad service")] == [
        *("Good", "&amp;", "bad", "bad_ service")
    ]
    assert _readable(text, Limits(), clean="markdown") == "Good food &\nbad service"


def test_no_markdown_takes_long() -> None:
    marks = (
        "[",
        "](",
        "[a](",
        "**a",
        "`",
        "```\n",
        "> ",
        "# ",
        "- ",
        "\\",
        "_a",
        "![",
        "* ",
        "[[a]",
    )
    for mark in marks:
        started = time.process_time()
        without_markdown(mark * (65_536 // len(mark)))
        assert time.process_time() - started < 2, mark
