"""An engine made of two: who answers which job, when one of them is away, and how it comes back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentq.contract import ErrorCode, TextError
from sentq_worker.engine.base import (
    DeviceLost,
    DeviceUnavailable,
    EngineUnavailable,
    HubRefused,
    ModelUnavailable,
)
from sentq_worker.engine.provider import ProviderReply, ScoredJob
from sentq_worker.providers.breaker import Breaker, BreakerState
from sentq_worker.providers.fallback import FallbackProvider
from sentq_worker.settings import ProviderPolicy
from tests.support.models.providers import ScriptedJob, ScriptedProvider
from tests.support.processes import eventually

FAILED = TextError(code=ErrorCode.INFERENCE_FAILED, message="the model failed")


@contextmanager
def made_of(
    local: ScriptedProvider,
    hub: ScriptedProvider,
    *,
    policy: Callable[[str], ProviderPolicy] = lambda _: "prefer-local",
    backlog_limit_s: float | None = None,
    probe_interval_s: float = 0.05,
    is_device_back: Callable[[str], bool] = lambda _: False,
) -> Iterator[FallbackProvider]:
    fallback = FallbackProvider(
        local,
        hub,
        policy=policy,
        breaker=Breaker("local", failures=3, probe_interval_s=probe_interval_s),
        probe_interval_s=probe_interval_s,
        backlog_limit_s=backlog_limit_s,
        is_device_back=is_device_back,
    )
    try:
        fallback.start()
        yield fallback
    finally:
        fallback.stop()


def _who(replies: list[ProviderReply]) -> list[str]:
    return [r.info.backend if isinstance(r, ScoredJob) else "waits" for r in replies]


def _engines() -> tuple[ScriptedProvider, ScriptedProvider]:
    return ScriptedProvider("local"), ScriptedProvider("hub")


def test_the_local_provider_scores_while_it_is_available() -> None:
    local, hub = _engines()
    with made_of(local, hub) as fallback:
        assert _who(fallback.score([ScriptedJob(["a"]), ScriptedJob(["b"])])) == ["local", "local"]
        assert hub.asked == []


@pytest.mark.parametrize(
    "error",
    [DeviceLost("gone"), EngineUnavailable("away"), RuntimeError("CANARY text")],
    ids=lambda error: type(error).__name__,
)
def test_the_hub_scores_the_batch_in_which_the_local_provider_fails(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    local, hub = _engines()
    with made_of(local, hub, probe_interval_s=60) as fallback:
        local.error = error
        for _ in range(3):
            assert _who(
                fallback.score([ScriptedJob(["a"]), ScriptedJob(["b"], is_local_only=True)])
            ) == [
                "hub",
                "waits",
            ]
        assert fallback.breaker.state is BreakerState.OPEN
        assert "b" not in hub.asked
    assert caplog.text.count("local is not used for now") == 1
    assert "CANARY" not in caplog.text


@pytest.mark.parametrize("error", [DeviceUnavailable("no cuda"), ModelUnavailable("no model")])
def test_a_local_provider_that_cannot_start_is_unavailable_and_recovers(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    local, hub = _engines()
    local.start_error = error
    with made_of(local, hub) as fallback:
        assert _who(fallback.score([ScriptedJob(["a"])])) == ["hub"]
        eventually(lambda: local.starts >= 3)
        assert _who(fallback.score([ScriptedJob(["a"])])) == ["hub"]
        local.start_error = None
        eventually(lambda: fallback.breaker.is_closed)
        assert _who(fallback.score([ScriptedJob(["a"])])) == ["local"]
    assert caplog.text.count("local is not used for now") == 1
    assert caplog.text.count("local is available again") == 1


def test_a_hub_that_fails_at_start_does_not_stop_the_local_provider() -> None:
    local, hub = _engines()
    hub.start_error = HubRefused("it rejects the token (401)")
    with made_of(local, hub) as fallback:
        assert _who(fallback.score([ScriptedJob(["a"])])) == ["local"]
    local.start_error = DeviceUnavailable("no cuda")
    with pytest.raises(HubRefused), made_of(local, hub):
        pass
    local.start_error, hub.start_error = None, ModelUnavailable("it has other labels")
    with pytest.raises(ModelUnavailable, match="labels"), made_of(local, hub):
        pass


def test_invalid_texts_do_not_make_a_working_provider_unavailable() -> None:
    class Picky(ScriptedProvider):
        def score(self, jobs):  # type: ignore[no-untyped-def]
            self.outcome = FAILED if "bad" in jobs[0].texts else ScriptedProvider("").outcome
            return super().score(jobs)

    local, hub = Picky("local"), ScriptedProvider("hub")
    with made_of(local, hub) as fallback:
        for _ in range(10):
            (reply,) = fallback.score([ScriptedJob(["bad"])])
            assert isinstance(reply, ScoredJob)
            assert reply.outcomes == [FAILED]
        assert fallback.breaker.is_closed
        assert hub.asked == []


def test_a_provider_that_fails_on_every_text_is_unavailable() -> None:
    local, hub = _engines()
    local.outcome = FAILED
    with made_of(local, hub, probe_interval_s=60) as fallback:
        assert _who(fallback.score([ScriptedJob(["a"])])) == ["hub"]
        assert not fallback.breaker.is_closed


def test_jobs_that_waited_long_go_to_the_hub_beside_an_available_local_provider() -> None:
    local, hub = _engines()
    now_ms = time.time() * 1000
    old, new = (
        ScriptedJob(["old"], sent_at_ms=now_ms - 60_000),
        ScriptedJob(["new"], sent_at_ms=now_ms),
    )
    kept = ScriptedJob(["kept"], sent_at_ms=now_ms - 60_000, is_local_only=True)
    with made_of(local, hub, backlog_limit_s=30) as fallback:
        assert _who(fallback.score([old, new, kept])) == ["hub", "local", "local"]
        hub.waits = True  # Then the local engine does it after all.
        assert _who(fallback.score([old, new])) == ["local", "local"]


def test_each_queue_has_its_policy() -> None:
    local, hub = _engines()
    policies: dict[str, ProviderPolicy] = {"own": "local", "both": "prefer-local", "away": "hub"}
    jobs = [ScriptedJob([queue], queue=queue) for queue in policies]
    with made_of(local, hub, policy=policies.__getitem__, probe_interval_s=60) as fallback:
        assert _who(fallback.score(jobs)) == ["local", "local", "hub"]
        local.error = EngineUnavailable("away")
        assert _who(fallback.score(jobs)) == ["waits", "hub", "hub"]
        hub.waits = True
        assert _who(fallback.score(jobs)) == ["waits", "waits", "waits"]
        assert not fallback.is_usable
        assert "own" not in hub.asked


def test_a_process_ends_when_only_a_new_process_can_use_the_recovered_device() -> None:
    local, hub = _engines()
    lost: list[str] = []

    def is_back(device: str) -> bool:
        lost.append(device)
        return len(lost) > 1

    with made_of(local, hub, is_device_back=is_back) as fallback:
        local.error = local.start_error = DeviceLost("gone")
        assert _who(fallback.score([ScriptedJob(["a"])])) == ["hub"]
        eventually(lambda: len(lost) > 1)

        def ends() -> bool:
            try:
                fallback.score([ScriptedJob(["a"])])
            except DeviceLost:
                return True
            return False

        eventually(ends)
        assert set(lost) == {"local"}


_ERRORS = st.sampled_from([None, DeviceLost, EngineUnavailable, RuntimeError])
_JOBS = st.lists(
    st.tuples(
        st.booleans(),  # whether it may leave
        st.sampled_from(["own", "both", "away"]),
        st.sampled_from([None, 0.0, float("inf")]),  # when it was sent
    ),
    min_size=1,
    max_size=5,
)
_STEPS = st.lists(
    st.tuples(_JOBS, _ERRORS, _ERRORS, st.booleans(), st.booleans()), min_size=1, max_size=8
)


@settings(max_examples=100, deadline=None)
@given(steps=_STEPS, starts=st.booleans())
def test_local_only_jobs_never_reach_the_hub_in_any_schedule(
    *,
    steps: list[tuple[list[tuple[bool, str, float | None]], object, object, bool, bool]],
    starts: bool,
) -> None:
    local, hub = _engines()
    local.start_error = None if starts else ModelUnavailable("no model")
    policies: dict[str, ProviderPolicy] = {"own": "local", "both": "prefer-local", "away": "hub"}
    policy = policies.__getitem__
    with made_of(local, hub, policy=policy, probe_interval_s=0.001, backlog_limit_s=1) as fallback:
        for jobs, local_error, hub_error, all_fail, hub_waits in steps:
            local.error = local_error("x") if callable(local_error) else None
            hub.error = EngineUnavailable("x") if hub_error else None
            local.outcome = FAILED if all_fail else ScriptedProvider("").outcome
            hub.waits = hub_waits
            replies = fallback.score(
                [
                    ScriptedJob(
                        [f"{'out' if may_leave else 'in'} {queue}"], not may_leave, None, at, queue
                    )
                    for may_leave, queue, at in jobs
                ]
            )
            for (may_leave, queue, _), who in zip(jobs, _who(replies), strict=True):
                if not may_leave or queue == "own":
                    assert who != "hub"
                elif queue == "away":
                    assert who != "local"
    assert not [text for text in hub.asked if str(text).startswith("in ") or "own" in str(text)]
