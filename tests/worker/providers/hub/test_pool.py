"""Calls of the Hub, with a local Hub that fails as scripted."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from pydantic import SecretStr

from sentq.contract import TextError
from sentq_worker.engine.base import EngineUnavailable, ModelUnavailable
from sentq_worker.providers.breaker import Breaker, BreakerState
from sentq_worker.providers.hub.client import HubClient
from sentq_worker.providers.hub.pool import HubOptions, HubPool, HubRequest, HubRow
from sentq_worker.providers.hub.target import Target
from sentq_worker.testing import LocalHub
from sentq_worker.testing.replies import hash_scores
from tests.support.processes import eventually

LABELS = ("negative", "neutral", "positive")
CANARY = "CANARY a text of no output"
TOKEN = "hf_CANARYtoken"

StartHub = Callable[..., HubPool]


@pytest.fixture
def server() -> Iterator[LocalHub]:
    with LocalHub(token=TOKEN) as server:
        yield server


@contextmanager
def started(server: LocalHub, *, token: str = TOKEN, **options: float) -> Iterator[HubPool]:
    """Start a pool for this Hub, with short time limits unless the options say otherwise."""
    limits = {"in_flight": 1, "call_timeout_s": 10.0, "total_timeout_s": 30.0} | options
    target = Target("owner/model", server.endpoint, SecretStr(token))
    hub = HubPool(
        lambda: HubClient(target, timeout_s=limits["call_timeout_s"]),
        options=HubOptions(**limits),  # type: ignore[arg-type]
        breaker=Breaker("the Hub", failures=5, probe_interval_s=0.2),
    )
    try:
        hub.start()
        server.texts.clear()
        yield hub
    finally:
        hub.stop()


def _predict(hub: HubPool, *texts: str) -> list[HubRow]:
    return hub.predict([HubRequest(text) for text in texts])


def test_a_text_is_scored_with_the_labels_of_the_model(server: LocalHub) -> None:
    with started(server) as hub:
        (row,) = _predict(hub, "a good day")
        assert hub.labels == LABELS
        assert row == pytest.approx(list(hash_scores("a good day", LABELS).values()))
        assert server.texts == ["a good day"]


def test_many_texts_are_in_flight_and_no_more_than_allowed() -> None:
    with LocalHub(token=TOKEN, latency_s=0.05) as server, started(server, in_flight=8) as hub:
        texts = [f"text {number}" for number in range(40)]
        rows = _predict(hub, *texts)
        for text, row in zip(texts, rows, strict=True):
            assert row == pytest.approx(list(hash_scores(text, LABELS).values()))
        assert server.most_at_once == 8


def test_a_reply_without_the_outer_list_is_accepted(server: LocalHub) -> None:
    with started(server) as hub:
        server.script("flat")
        (row,) = _predict(hub, "a good day")
        assert row == pytest.approx(list(hash_scores("a good day", LABELS).values()))


SCORED, WAITS = "scored", "waits"
CLOSED, OPEN, STOPPED = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.STOPPED

#: The script of the Hub's next replies; the outcome of one text, the number of calls (probes
#: included), and the breaker's state afterwards.
FAULTS = [
    ("ok", SCORED, 1, CLOSED),
    ("400", "inference_failed", 1, CLOSED),
    ("413", "inference_failed", 1, CLOSED),
    ("422", "inference_failed", 1, CLOSED),
    ("401", WAITS, 1, STOPPED),
    ("402", WAITS, 1, OPEN),
    ("403", WAITS, 1, STOPPED),
    ("404", WAITS, 1, STOPPED),
    ("410", WAITS, 1, STOPPED),
    ("429", SCORED, 2, CLOSED),
    ("429:0.3", SCORED, 2, CLOSED),
    ("always 429:0.05", WAITS, 3, OPEN),
    ("500", SCORED, 2, CLOSED),
    ("502", SCORED, 2, CLOSED),
    ("503", SCORED, 2, CLOSED),
    ("503:0.3", SCORED, 2, CLOSED),
    ("504 504", SCORED, 3, CLOSED),
    # The following probe succeeds, so the text is the cause.
    ("503 503 503", "inference_failed", 4, CLOSED),
    # The following probe fails.
    ("always 503", WAITS, 4, OPEN),
    ("garbage", SCORED, 2, CLOSED),
    ("always garbage", WAITS, 4, OPEN),
    ("truncated", SCORED, 2, CLOSED),
    ("gzip-bomb", SCORED, 2, CLOSED),
    ("huge", SCORED, 2, CLOSED),
    ("slow-loris", SCORED, 2, CLOSED),
    ("silence", SCORED, 2, CLOSED),
    ("reset", SCORED, 2, CLOSED),
    ("always reset", WAITS, 4, OPEN),
    ("redirect", WAITS, 1, OPEN),
    ("wrong-labels", WAITS, 1, STOPPED),
    ("wrong-sum", WAITS, 1, STOPPED),
    ("nan", SCORED, 2, CLOSED),
    ("nan nan", "nonfinite", 2, CLOSED),
]


@pytest.mark.parametrize(("script", "outcome", "calls", "state"), FAULTS)
def test_each_fault_has_its_outcome_calls_and_breaker_state(
    server: LocalHub,
    caplog: pytest.LogCaptureFixture,
    script: str,
    outcome: str,
    calls: int,
    state: BreakerState,
) -> None:
    caplog.set_level(logging.DEBUG)
    is_slow = script in ("slow-loris", "silence")
    with started(server, attempts=3, call_timeout_s=2.0 if is_slow else 10.0) as hub:
        server.script(script)
        (row,) = _predict(hub, CANARY)
        if outcome == SCORED:
            assert row == pytest.approx(list(hash_scores(CANARY, LABELS).values()))
        elif outcome == WAITS:
            assert isinstance(row, EngineUnavailable)
        else:
            assert isinstance(row, TextError)
            assert row.code == outcome
        assert server.calls == calls
        assert hub.breaker.state is state
        # An open breaker prevents further calls.
        if state is not CLOSED:
            assert isinstance(_predict(hub, CANARY)[0], EngineUnavailable)
            assert server.calls == calls
    shown = caplog.text + repr(row) + str(row)
    assert "CANARY" not in shown
    assert shown.count("the Hub is not used") == (0 if state is CLOSED else 1)


def test_retry_after_of_the_hub_is_honoured(server: LocalHub) -> None:
    with started(server) as hub:
        server.script("429:0.6 503:0.6")
        began = time.monotonic()
        (row,) = _predict(hub, "a good day")
        assert isinstance(row, list)
        assert time.monotonic() - began >= 1.2


def test_retry_after_is_capped(server: LocalHub) -> None:
    with started(server, retry_after_limit_s=0.1) as hub:
        server.script("429:3600")
        began = time.monotonic()
        assert isinstance(_predict(hub, "a good day")[0], list)
        assert time.monotonic() - began < 60


def test_no_call_is_retried_past_the_deadline_of_the_job(server: LocalHub) -> None:
    with started(server) as hub:
        server.script("always 503:5")
        began = time.monotonic()
        (row,) = hub.predict([HubRequest(CANARY, until_s=began + 2)])
        assert time.monotonic() - began < 4
        assert isinstance(row, (EngineUnavailable, TextError))
        assert server.calls == 1
        (late,) = hub.predict([HubRequest(CANARY, until_s=began)])
        assert isinstance(late, TextError)
        assert late.code == "deadline_passed"
        assert server.calls == 1


def test_the_breaker_closes_when_a_probe_succeeds(server: LocalHub) -> None:
    with started(server, attempts=2) as hub:
        server.script("always 500")
        assert isinstance(_predict(hub, CANARY)[0], EngineUnavailable)
        time.sleep(0.25)
        assert isinstance(_predict(hub, CANARY, CANARY)[0], EngineUnavailable)
        assert hub.breaker.state is OPEN
        assert server.texts == [CANARY, CANARY, "good", "good"]  # probes do not use texts of jobs
        server.script("ok")
        time.sleep(0.25)
        assert isinstance(_predict(hub, CANARY)[0], list)
        assert hub.breaker.state is CLOSED


@pytest.mark.slow
def test_payment_required_opens_the_breaker_for_the_configured_time(server: LocalHub) -> None:
    with started(server, payment_pause_s=3) as hub:
        server.script("402")
        assert isinstance(_predict(hub, "a good day")[0], EngineUnavailable)
        time.sleep(0.25)  # Longer than the interval of probes.
        assert isinstance(_predict(hub, "a good day")[0], EngineUnavailable)
        assert server.calls == 1
        eventually(
            lambda: isinstance(_predict(hub, "a good day")[0], list), what="the end of the pause"
        )


@pytest.mark.parametrize("script", ["401", "403", "404", "410"])
def test_a_rejected_token_or_model_is_reported_at_start(server: LocalHub, script: str) -> None:
    server.script(script)
    with pytest.raises(ModelUnavailable, match=f"\\({script}\\)") as refused, started(server):
        pass
    assert "CANARY" not in str(refused.value)


def test_a_wrong_token_is_rejected(server: LocalHub) -> None:
    with (
        pytest.raises(ModelUnavailable, match="rejects the token"),
        started(server, token="hf_wrong"),
    ):
        pass


def test_a_hub_unavailable_at_start_is_called_later(server: LocalHub) -> None:
    server.script("503")
    with started(server) as hub:
        assert hub.labels is None
        assert isinstance(_predict(hub, "a good day")[0], list)
        assert server.texts == ["good", "a good day"]
