"""The fallback between two providers: which one scores a job, and how one recovers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
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
from sentq_worker.engine.provider import ProviderJob, ProviderReply, ScoredJob
from sentq_worker.engine.steps import Steps, run_steps
from sentq_worker.providers.breaker import Breaker, BreakerState
from sentq_worker.providers.fallback import FallbackProvider
from sentq_worker.settings import ProviderPolicy
from tests.support.models.providers import ScriptedJob, ScriptedProvider
from tests.support.processes import eventually

FAILED = TextError(code=ErrorCode.INFERENCE_FAILED, message="the model failed")


@contextmanager
def fallback_of(
    local: ScriptedProvider,
    hub: ScriptedProvider,
    *,
    policy: Callable[[str], ProviderPolicy] = lambda _: "prefer-local",
    backlog_limit_s: float | None = None,
    now_ms: Callable[[], float] = lambda: time.time() * 1000,
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
        now_ms=now_ms,
        is_device_back=is_device_back,
    )
    try:
        fallback.start()
        yield fallback
    finally:
        fallback.stop()


def _backends(replies: list[ProviderReply]) -> list[str]:
    return [r.info.backend if isinstance(r, ScoredJob) else "waits" for r in replies]


def _providers() -> tuple[ScriptedProvider, ScriptedProvider]:
    return ScriptedProvider("local"), ScriptedProvider("hub")


def test_the_local_provider_scores_while_it_is_available() -> None:
    local, hub = _providers()
    with fallback_of(local, hub) as fallback:
        assert _backends(fallback.score([ScriptedJob(["a"]), ScriptedJob(["b"])])) == [
            "local",
            "local",
        ]
        assert hub.scored_texts == []


@pytest.mark.parametrize(
    "error",
    [DeviceLost("gone"), EngineUnavailable("unavailable"), RuntimeError("CANARY text")],
    ids=lambda error: type(error).__name__,
)
def test_the_hub_scores_the_batch_in_which_the_local_provider_fails(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    local, hub = _providers()
    with fallback_of(local, hub, probe_interval_s=60) as fallback:
        local.error = error
        for _ in range(3):
            assert _backends(
                fallback.score([ScriptedJob(["a"]), ScriptedJob(["b"], is_local_only=True)])
            ) == [
                "hub",
                "waits",
            ]
        assert fallback.breaker.state is BreakerState.OPEN
        assert "b" not in hub.scored_texts
    assert caplog.text.count("local is not used for now") == 1
    assert "CANARY" not in caplog.text


@pytest.mark.parametrize("error", [DeviceUnavailable("no cuda"), ModelUnavailable("no model")])
def test_a_local_provider_that_cannot_start_is_unavailable_and_recovers(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    local, hub = _providers()
    local.start_error = error
    with fallback_of(local, hub) as fallback:
        assert _backends(fallback.score([ScriptedJob(["a"])])) == ["hub"]
        eventually(lambda: local.starts >= 3)
        assert _backends(fallback.score([ScriptedJob(["a"])])) == ["hub"]
        local.start_error = None
        eventually(lambda: fallback.breaker.is_closed)
        assert _backends(fallback.score([ScriptedJob(["a"])])) == ["local"]
    assert caplog.text.count("local is not used for now") == 1
    assert caplog.text.count("local is available again") == 1


def test_a_hub_that_fails_at_start_does_not_stop_the_local_provider() -> None:
    local, hub = _providers()
    hub.start_error = HubRefused("it rejects the token (401)")
    with fallback_of(local, hub) as fallback:
        assert _backends(fallback.score([ScriptedJob(["a"])])) == ["local"]
    local.start_error = DeviceUnavailable("no cuda")
    with pytest.raises(HubRefused), fallback_of(local, hub):
        pass
    local.start_error, hub.start_error = None, ModelUnavailable("it has other labels")
    with pytest.raises(ModelUnavailable, match="labels"), fallback_of(local, hub):
        pass


def test_invalid_texts_do_not_make_a_working_provider_unavailable() -> None:
    class FailingOnBad(ScriptedProvider):
        def score(self, jobs):  # type: ignore[no-untyped-def]
            self.outcome = FAILED if "bad" in jobs[0].texts else ScriptedProvider("").outcome
            return super().score(jobs)

    local, hub = FailingOnBad("local"), ScriptedProvider("hub")
    with fallback_of(local, hub) as fallback:
        for _ in range(10):
            (reply,) = fallback.score([ScriptedJob(["bad"])])
            assert isinstance(reply, ScoredJob)
            assert reply.outcomes == [FAILED]
        assert fallback.breaker.is_closed
        assert hub.scored_texts == []


def test_a_provider_that_fails_on_every_text_is_unavailable() -> None:
    local, hub = _providers()
    local.outcome = FAILED
    with fallback_of(local, hub, probe_interval_s=60) as fallback:
        assert _backends(fallback.score([ScriptedJob(["a"])])) == ["hub"]
        assert not fallback.breaker.is_closed


def test_jobs_that_waited_long_go_to_the_hub_beside_an_available_local_provider() -> None:
    local, hub = _providers()
    now_ms = time.time() * 1000
    old, new = (
        ScriptedJob(["old"], sent_at_ms=now_ms - 60_000),
        ScriptedJob(["new"], sent_at_ms=now_ms),
    )
    kept = ScriptedJob(["kept"], sent_at_ms=now_ms - 60_000, is_local_only=True)
    with fallback_of(local, hub, backlog_limit_s=30) as fallback:
        assert _backends(fallback.score([old, new, kept])) == ["hub", "local", "local"]
        hub.is_unavailable = True  # The local provider then scores them.
        assert _backends(fallback.score([old, new])) == ["local", "local"]


def test_the_backlog_is_measured_by_the_clock_of_redis() -> None:
    local, hub = _providers()
    redis_ms = time.time() * 1000 - 3_600_000  # This host's clock is an hour ahead.
    waited = ScriptedJob(["waited"], sent_at_ms=redis_ms - 60_000)
    new = ScriptedJob(["new"], sent_at_ms=redis_ms)
    with fallback_of(local, hub, backlog_limit_s=30, now_ms=lambda: redis_ms) as fallback:
        assert _backends(fallback.score([waited, new])) == ["hub", "local"]


def test_each_queue_has_its_policy() -> None:
    local, hub = _providers()
    policies: dict[str, ProviderPolicy] = {"own": "local", "both": "prefer-local", "remote": "hub"}
    jobs = [ScriptedJob([queue], queue=queue) for queue in policies]
    with fallback_of(local, hub, policy=policies.__getitem__, probe_interval_s=60) as fallback:
        assert _backends(fallback.score(jobs)) == ["local", "local", "hub"]
        local.error = EngineUnavailable("unavailable")
        assert _backends(fallback.score(jobs)) == ["waits", "hub", "hub"]
        hub.is_unavailable = True
        assert _backends(fallback.score(jobs)) == ["waits", "waits", "waits"]
        assert not fallback.is_usable
        assert "own" not in hub.scored_texts


def test_a_process_ends_when_only_a_new_process_can_use_the_recovered_device() -> None:
    local, hub = _providers()
    lost: list[str] = []

    def is_device_back(device: str) -> bool:
        lost.append(device)
        return len(lost) > 1

    with fallback_of(local, hub, is_device_back=is_device_back) as fallback:
        local.error = local.start_error = DeviceLost("gone")
        assert _backends(fallback.score([ScriptedJob(["a"])])) == ["hub"]
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
        st.booleans(),  # whether the Hub may score it
        st.sampled_from(["own", "both", "remote"]),
        st.sampled_from([None, 0.0, float("inf")]),  # the time of submission
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
    local, hub = _providers()
    local.start_error = None if starts else ModelUnavailable("no model")
    policies: dict[str, ProviderPolicy] = {"own": "local", "both": "prefer-local", "remote": "hub"}
    policy = policies.__getitem__
    with fallback_of(
        local, hub, policy=policy, probe_interval_s=0.001, backlog_limit_s=1
    ) as fallback:
        for jobs, local_error, hub_error, all_fail, hub_is_unavailable in steps:
            local.error = local_error("x") if callable(local_error) else None
            hub.error = EngineUnavailable("x") if hub_error else None
            local.outcome = FAILED if all_fail else ScriptedProvider("").outcome
            hub.is_unavailable = hub_is_unavailable
            replies = fallback.score(
                [
                    ScriptedJob(
                        [f"{'out' if may_use_hub else 'in'} {queue}"],
                        not may_use_hub,
                        None,
                        at,
                        queue,
                    )
                    for may_use_hub, queue, at in jobs
                ]
            )
            for (may_use_hub, queue, _), backend in zip(jobs, _backends(replies), strict=True):
                if not may_use_hub or queue == "own":
                    assert backend != "hub"
                elif queue == "remote":
                    assert backend != "local"
    assert not [
        text for text in hub.scored_texts if str(text).startswith("in ") or "own" in str(text)
    ]


def test_a_device_lost_between_two_steps_makes_the_local_provider_unavailable() -> None:
    class LostInTheMiddle(ScriptedProvider):
        def score_in_steps(self, jobs: Sequence[ProviderJob]) -> Steps[list[ProviderReply]]:
            yield
            raise DeviceLost(f"scripted, with {len(jobs)} jobs")

    local, hub = LostInTheMiddle("local"), ScriptedProvider("hub")
    with fallback_of(local, hub, probe_interval_s=60) as fallback:
        steps = fallback.score_in_steps([ScriptedJob(["a"])])
        next(steps)
        # In the pause of the first batch, another one finds out that the device is lost.
        assert _backends(fallback.score([ScriptedJob(["b"])])) == ["hub"]
        assert _backends(run_steps(steps)) == ["hub"]
        assert not fallback.breaker.is_closed
