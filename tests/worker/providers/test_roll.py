"""A roll in one process: which jobs the candidate gets, what its errors do, what is released."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from sentq.contract import MAIN_MODEL, ErrorCode, JobOptions, Outcome, Prediction, TextError
from sentq.wire.roll.report import RollStage
from sentq.wire.roll.state import RollState
from sentq_worker.engine.base import DeviceLost, EngineInfo, ModelUnavailable
from sentq_worker.engine.provider import HasEngineInfo, ScoredJob
from sentq_worker.providers.local import LocalProvider
from tests.support.models.providers import ScriptedJob, prediction

_IDS = tuple(f"job-{number}" for number in range(2_000))


@dataclass
class _Engine:
    info: EngineInfo


class RolledScorer:
    """Scores each text the same; or raises, or returns an error."""

    def __init__(self, name: str, outcome: Outcome | None = None) -> None:
        self.engine: HasEngineInfo = _Engine(EngineInfo(name, None, "test", "none", ("a",)))
        self.outcome = outcome or prediction()
        self.error: Exception | None = None

    def score(self, jobs: Sequence[Sequence[object]]) -> list[list[Outcome]]:
        if self.error is not None:
            raise self.error
        return [[self.outcome] * len(job) for job in jobs]


class Loader:
    """Makes the scorers of a provider, and remembers those that still exist."""

    def __init__(self) -> None:
        self.loaded: list[tuple[str, tuple[str, ...]]] = []
        self.alive: weakref.WeakValueDictionary[str, RolledScorer] = weakref.WeakValueDictionary()
        self.error: Exception | None = None

    def load(self, name: str, beside: Collection[str] = ()) -> RolledScorer:
        if self.error is not None:
            raise self.error
        self.loaded.append((name, tuple(beside)))
        self.alive[name] = scorer = RolledScorer(name)
        return scorer

    def loads(self, name: str) -> Callable[[Collection[str]], RolledScorer]:
        return lambda beside: self.load(name, beside)


@pytest.fixture
def loader() -> Loader:
    return Loader()


@pytest.fixture
def provider(loader: Loader) -> LocalProvider:
    names = (MAIN_MODEL, "b", "c")
    made = LocalProvider(
        lambda: loader.load(MAIN_MODEL), {}, {name: loader.loads(name) for name in names}
    )
    made.start()
    return made


def _follow(provider: LocalProvider, **fields: Any) -> RollState:
    state = RollState().changed(1.0, **fields)
    provider.follow(state, waits=True)
    return state


def _answers(provider: LocalProvider, *, model: str | None = None) -> dict[str, str]:
    jobs = [ScriptedJob(("text",), id=each, asked=JobOptions(model=model)) for each in _IDS]
    replies = provider.score(jobs)
    assert all(isinstance(reply, ScoredJob) for reply in replies)
    return {
        job.id: reply.info.model
        for job, reply in zip(jobs, replies, strict=True)
        if isinstance(reply, ScoredJob)
    }


def test_a_share_is_chosen_by_job_ids_and_grows(provider: LocalProvider) -> None:
    small = _follow(provider, candidate="b", share=0.05)
    taken = {each for each, model in _answers(provider).items() if model == "b"}
    assert taken == {each for each in _IDS if small.takes(each)}
    assert 0.03 < len(taken) / len(_IDS) < 0.07
    _follow(provider, candidate="b", share=0.2)
    more = {each for each, model in _answers(provider).items() if model == "b"}
    assert taken < more
    other = RollState(candidate="c", share=0.05)
    assert taken != {each for each in _IDS if other.takes(each)}
    assert set(_answers(provider, model="main").values()) == {"main"}
    assert set(_answers(provider, model="b").values()) == {"b"}


def test_models_are_loaded_once_and_released(provider: LocalProvider, loader: Loader) -> None:
    _follow(provider, candidate="b", share=0.1)
    _answers(provider)
    _follow(provider, candidate="c", share=0.1)
    assert set(loader.alive) == {"main", "c"}
    _follow(provider, serving="c", previous="main")
    assert set(loader.alive) == {"c"}
    assert provider.info.model == "c"
    assert list(provider.models) == ["c"]
    _follow(provider)
    assert set(loader.alive) == {"main"}
    # No more than two at once.
    assert loader.loaded == [("main", ()), ("b", ("main",)), ("c", ("main",)), ("main", ("c",))]
    counted = provider.counts.model_texts
    assert counted.total() == len(_IDS)
    assert 0 < counted["b"] < counted["main"]


def test_a_model_that_cannot_be_loaded_changes_nothing(
    provider: LocalProvider, loader: Loader
) -> None:
    loader.error = ModelUnavailable("no such folder")
    state = _follow(provider, serving="b", previous="main")
    report = provider.roll
    assert report is not None
    assert (report.id, report.stage, report.error) == (state.id, RollStage.FAILED, "no such folder")
    assert (report.serving, report.names) == ("main", ("b", "c"))
    loader.error = None
    provider.follow(state, waits=True)  # Not tried again with each report.
    assert set(_answers(provider).values()) == {"main"}
    _follow(provider, serving="absent")
    assert provider.roll is not None
    assert "no table [worker.models.absent]" in str(provider.roll.error)
    state = _follow(provider, serving="b", previous="main")
    assert set(_answers(provider).values()) == {"b"}
    provider.start()  # As after a lost device.
    assert provider.roll.stage is RollStage.LOADING
    provider.follow(state, waits=True)
    assert set(_answers(provider).values()) == {"b"}


def test_an_error_of_the_candidate_is_none_of_its_jobs(
    provider: LocalProvider, loader: Loader
) -> None:
    _follow(provider, candidate="b", share=0.5)
    candidate = loader.alive["b"]
    candidate.error = RuntimeError("broken")
    assert set(_answers(provider).values()) == {"main"}
    failures = provider.counts.candidate_failures
    assert 0.4 < failures / len(_IDS) < 0.6
    candidate.error = None
    candidate.outcome = TextError(code=ErrorCode.INFERENCE_FAILED, message="broken")
    assert set(_answers(provider).values()) == {"main"}
    assert provider.counts.candidate_failures == 2 * failures
    candidate.outcome = TextError(code=ErrorCode.EMPTY_TEXT, message="empty")
    assert set(_answers(provider).values()) == {"main", "b"}
    candidate.error = DeviceLost("gone")
    with pytest.raises(DeviceLost):
        _answers(provider)


def test_the_shadow_answers_nothing_and_is_compared(
    provider: LocalProvider, loader: Loader
) -> None:
    _follow(provider, candidate="b", share=1.0, is_shadow=True)
    candidate, all_texts = loader.alive["b"], len(_IDS)
    assert set(_answers(provider).values()) == {"main"}
    assert provider.counts.shadow_texts == {"agreed": all_texts, "differed": 0, "failed": 0}
    assert provider.counts.shadow_difference == 0
    assert isinstance(candidate.outcome, Prediction)
    candidate.outcome = prediction(0.25).model_copy(update={"label": "negative"})
    _answers(provider)
    assert provider.counts.shadow_texts["differed"] == all_texts
    assert provider.counts.shadow_difference == pytest.approx(all_texts / 2)
    candidate.error = RuntimeError("broken")
    assert set(_answers(provider).values()) == {"main"}
    assert provider.counts.shadow_texts["failed"] == all_texts
    assert provider.counts.model_texts == {"main": 3 * all_texts, "b": 0}
