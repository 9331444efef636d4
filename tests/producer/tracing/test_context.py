"""Reading the headers of a trace: only what has the W3C's form, and nothing of any length."""

from __future__ import annotations

import pytest

from sentq.tracing.context import TraceContext, trace_context_in

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"


def _shown(value: object) -> str:
    return ascii(value)[:60]


@pytest.mark.parametrize(("flags", "is_sampled"), [("01", True), ("00", False), ("03", True)])
def test_a_valid_header_is_read(flags: str, *, is_sampled: bool) -> None:
    headers = {"traceparent": f"00-{TRACE}-{SPAN}-{flags}", "tracestate": "a=1, b@c=2"}
    assert trace_context_in(headers) == TraceContext(TRACE, SPAN, is_sampled, "a=1,b@c=2")


@pytest.mark.parametrize(
    "parent",
    [
        *(None, 1, True, [], {}, b"00", ["00"], "", "00", "00-1-1-01"),
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-0\u0661",
        f"00-{TRACE}-{SPAN}-01\n",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01" + "0" * 1_000_000,
        f" 00-{TRACE}-{SPAN}-01",
    ],
    ids=_shown,
)
def test_any_other_header_names_no_span(parent: object) -> None:
    assert trace_context_in({"traceparent": parent}) is None


@pytest.mark.parametrize(
    "state",
    [
        *(None, 1, [], {}, "", "a", "=", "a=", "A=1", "a=1,,b=2", "a=\u00e9", "a=1\n", "a=\x00"),
        "a=" + "1" * 1_000_000,
        ",".join(f"k{n}=1" for n in range(33)),
        "a=" + "1" * 257,
    ],
    ids=_shown,
)
def test_an_invalid_state_is_dropped_and_the_span_is_kept(state: object) -> None:
    found = trace_context_in({"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": state})
    assert found == TraceContext(TRACE, SPAN, is_sampled=True)
