"""Jobs scored through the Hub: requests, outcomes, budgets and local-only jobs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from sentq.contract import ErrorCode, Limits, Prediction, TextError
from sentq_worker.engine.base import EngineUnavailable, ModelUnavailable
from sentq_worker.engine.counts import BudgetUse
from sentq_worker.engine.provider import ScoredJob
from sentq_worker.inference.model import LocalEngine
from sentq_worker.inference.model_files import find_model
from sentq_worker.providers.breaker import Breaker, BreakerState
from sentq_worker.providers.breaker_store import SharedBreakerState
from sentq_worker.providers.hub.budget import Budget, BudgetLimits
from sentq_worker.providers.hub.client import HubClient
from sentq_worker.providers.hub.pool import HubOptions, HubPool, HubRequest
from sentq_worker.providers.hub.provider import HubProvider
from sentq_worker.providers.hub.target import Target
from sentq_worker.providers.hub.windows import Windower, window_by_chars, window_by_tokens
from sentq_worker.scoring.language_detector import LanguageDetector
from sentq_worker.scoring.language_rule import LanguageRule
from sentq_worker.scoring.scorer import EngineScorer
from sentq_worker.scoring.windows import TextTokenizer
from sentq_worker.settings import Cleaning
from sentq_worker.testing import LocalHub
from tests.support.models.providers import ScriptedJob
from tests.support.processes import RedisProcess, eventually

_BY_CHARS: Windower = partial(window_by_chars, window_chars=100)


def make_hub(server: LocalHub, *, budget: Budget | None = None, **more: object) -> HubPool:
    options = {"in_flight": 4, "call_timeout_s": 5.0, "attempts": 2} | {
        name: value for name, value in more.items() if name != "shared_state"
    }
    shared_state = more.get("shared_state")
    return HubPool(
        lambda: HubClient(Target("owner/model", server.endpoint), timeout_s=5.0),
        options=HubOptions(**options),  # type: ignore[arg-type]
        breaker=Breaker("the Hub", failures=3, probe_interval_s=0.2),
        budget=budget,
        shared_state=shared_state if isinstance(shared_state, SharedBreakerState) else None,
    )


@contextmanager
def scoring(
    server: LocalHub,
    *,
    cut: Windower = _BY_CHARS,
    expected: Callable[[], tuple[str, ...] | None] = lambda: None,
    renamed: dict[str, str] | None = None,
    budget: Budget | None = None,
    languages: LanguageRule | None = None,
    clean: Cleaning = "none",
    **options: object,
) -> Iterator[HubProvider]:
    hub = make_hub(server, budget=budget, **options)
    scorer = HubProvider(
        lambda: (hub, cut),
        breaker=hub.breaker,
        model="owner/model",
        limits=Limits(chars_per_text=5_000),
        now_ms=lambda: time.time() * 1000,
        renamed=renamed or {},
        expected_labels=expected,
        make_languages=lambda: languages,
        clean=clean,
    )
    try:
        scorer.start()
        server.texts.clear()
        yield scorer
    finally:
        scorer.stop()


@pytest.fixture
def server() -> Iterator[LocalHub]:
    with LocalHub() as server:
        yield server


def test_outcomes_equal_those_of_the_local_provider_and_name_the_hub(
    server: LocalHub,
) -> None:
    with scoring(server) as scorer:
        reply, other = scorer.score(
            [ScriptedJob(["good", "", 7, "\ud800"]), ScriptedJob(["good", "bad"])]
        )
    assert isinstance(reply, ScoredJob)
    assert isinstance(other, ScoredJob)
    assert (reply.info.model, reply.info.revision, reply.info.backend) == (
        "owner/model",
        None,
        "hub",
    )
    good, *problems = reply.outcomes
    assert isinstance(good, Prediction)
    assert good.label in {"negative", "neutral", "positive"}
    assert sum(good.scores.values()) == pytest.approx(1)
    assert good.sentiment is not None
    codes = [problem.code for problem in problems if isinstance(problem, TextError)]
    assert codes == ["empty_text", "not_a_string", "lone_surrogate"]
    assert other.outcomes[0] == good
    assert sorted(server.texts) == ["bad", "good"]  # equal texts are sent once


def test_markup_is_not_sent_to_the_hub(server: LocalHub) -> None:
    with scoring(server, clean="html") as scorer:
        (reply,) = scorer.score([ScriptedJob(["<b>good</b> &amp; bad", "<p></p>"])])
    assert isinstance(reply, ScoredJob)
    assert [o.code for o in reply.outcomes if isinstance(o, TextError)] == ["empty_text"]
    assert server.texts == ["good & bad"]


def test_parts_of_texts_are_scored_by_the_hub_too(server: LocalHub) -> None:
    with scoring(server) as scorer:
        (reply,) = scorer.score([ScriptedJob(["good. bad!", "good."], detail="sentences")])
    assert isinstance(reply, ScoredJob)
    first, second = reply.outcomes
    assert isinstance(first, Prediction)
    assert isinstance(second, Prediction)
    assert [(part.start, part.end) for part in first.parts or ()] == [(0, 5), (6, 10)]
    assert first.parts is not None
    assert second.parts is not None
    assert first.parts[0].scores == second.scores == second.parts[0].scores
    assert sorted(server.texts) == ["bad!", "good.", "good. bad!"]


def test_windows_of_a_text_are_sent_once_and_are_its_parts(server: LocalHub) -> None:
    text = " ".join(f"good{number}" for number in range(100))
    with scoring(server) as scorer:
        (reply,) = scorer.score([ScriptedJob([text], detail="windows")])
    assert isinstance(reply, ScoredJob)
    (found,) = reply.outcomes
    assert isinstance(found, Prediction)
    assert found.parts is not None
    assert found.windows == len(found.parts) == len(server.texts) > 1
    assert sorted(text[part.start : part.end] for part in found.parts) == sorted(server.texts)


def test_windows_of_cleaned_texts_say_where_they_stood_in_the_text_as_sent(
    server: LocalHub,
) -> None:
    text = " ".join(f"**good{number}**" for number in range(100))
    with scoring(server, clean="markdown") as scorer:
        (reply,) = scorer.score([ScriptedJob([text], detail="windows")])
    assert isinstance(reply, ScoredJob)
    (found,) = reply.outcomes
    assert isinstance(found, Prediction)
    assert found.parts is not None
    assert len(found.parts) > 1
    sent = sorted(text[part.start : part.end].replace("**", "") for part in found.parts)
    assert sent == sorted(server.texts)


def test_local_only_texts_are_not_sent_to_the_hub(server: LocalHub) -> None:
    with scoring(server) as scorer:
        local_only, sent = scorer.score(
            [ScriptedJob(["a", "b"], is_local_only=True), ScriptedJob(["c"])]
        )
    assert isinstance(local_only, ScoredJob)
    assert [o.code for o in local_only.outcomes if isinstance(o, TextError)] == [
        "engine_unavailable",
        "engine_unavailable",
    ]
    assert isinstance(sent, ScoredJob)
    assert server.texts == ["c"]


def test_a_retried_job_does_not_call_the_hub_again_for_scored_texts(
    server: LocalHub,
) -> None:
    with scoring(server, in_flight=1) as scorer:
        server.script("ok 402")
        job = ScriptedJob(["one", "two"])
        assert isinstance(scorer.score([job])[0], EngineUnavailable)
        assert not scorer.is_usable
        scorer.breaker.close()
        (reply,) = scorer.score([job])
        assert isinstance(reply, ScoredJob)
        assert sorted(server.texts) == ["one", "two", "two"]
        assert isinstance(scorer.score([job])[0], ScoredJob)  # scores are stored for one retry only
        assert len(server.texts) == 5


def test_long_texts_are_split_into_the_windows_of_the_local_provider(
    server: LocalHub, tiny_model: Path
) -> None:
    options = {"window_tokens": 16, "overlap_tokens": 4}
    tokenizer = Tokenizer.from_file(str(tiny_model / "tokenizer.json"))
    here = TextTokenizer(
        Tokenizer.from_file(str(tiny_model / "tokenizer.json")), special_tokens=2, **options
    )
    cut = window_by_tokens(tokenizer, otherwise=_BY_CHARS, **options)
    text = "the good movie " * 20 + "unbelievable endings"
    (local,) = here.tokenise([text])
    split = cut(text)
    assert split.tokens.tokens == local.tokens
    assert [w.own_tokens for w in split.tokens.windows] == [w.own_tokens for w in local.windows]
    # Tokenized again, each part equals the window it was cut from, except at a split word.
    for text_window, window in zip(split.windows, local.windows, strict=True):
        (again,) = here.tokenise([text_window])
        assert len(again.windows) == 1
        assert again.windows[0].token_ids[2:-2] == window.token_ids[2:-2]
    with scoring(server, cut=cut) as scorer:
        (reply,) = scorer.score([ScriptedJob([text])])
    assert isinstance(reply, ScoredJob)
    (outcome,) = reply.outcomes
    assert isinstance(outcome, Prediction)
    assert (outcome.windows, outcome.tokens) == (len(local.windows), local.tokens)
    assert server.texts
    assert set(server.texts) == set(split.windows)


@pytest.mark.parametrize("refuses", [False, True])
def test_a_text_in_another_language_is_flagged_or_never_sent(*, refuses: bool) -> None:
    german = "Das Zimmer war schmutzig und das Frühstück kalt."
    rule = LanguageRule(LanguageDetector(), ["en"], refuses=refuses, min_confidence=0.6)
    with LocalHub() as server, scoring(server, languages=rule) as scorer:
        (reply,) = scorer.score([ScriptedJob(["It was a lovely day.", german])])
        sent = set(server.texts)
    assert isinstance(reply, ScoredJob)
    english, other = reply.outcomes
    assert isinstance(english, Prediction)
    assert (english.language, english.language_supported) == ("en", True)
    if refuses:
        assert isinstance(other, TextError)
        assert other.code is ErrorCode.UNSUPPORTED_LANGUAGE
    else:
        assert isinstance(other, Prediction)
        assert (other.language, other.language_supported) == ("de", False)
    assert (german in sent) is not refuses


def test_a_hub_with_the_same_model_gives_the_scores_of_the_local_provider(tiny_model: Path) -> None:
    engine = LocalEngine(find_model(str(tiny_model)), device="cpu", dtype="float32", threads=1)

    def tokenizer() -> TextTokenizer:
        return TextTokenizer(
            Tokenizer.from_file(str(tiny_model / "tokenizer.json")),
            window_tokens=64,
            overlap_tokens=16,
            special_tokens=2,
        )

    local = EngineScorer(engine, tokenizer(), limits=Limits(), batch_tokens=512)

    def score(text: str) -> dict[str, float]:
        (outcome,) = EngineScorer(engine, tokenizer(), limits=Limits(), batch_tokens=512).score(
            [[text]]
        )[0]
        assert isinstance(outcome, Prediction)
        return outcome.scores

    cut = window_by_tokens(
        Tokenizer.from_file(str(tiny_model / "tokenizer.json")),
        window_tokens=64,
        overlap_tokens=16,
        otherwise=_BY_CHARS,
    )
    texts = ["a good day", "so sad " * 5, "the good movie was nasty and the food great " * 20]
    with LocalHub(score=score) as server, scoring(server, cut=cut, in_flight=1) as scorer:
        (reply,) = scorer.score([ScriptedJob(texts)])
    assert isinstance(reply, ScoredJob)
    for local_outcome, hub_outcome in zip(local.score([texts])[0], reply.outcomes, strict=True):
        assert isinstance(local_outcome, Prediction)
        assert isinstance(hub_outcome, Prediction)
        assert hub_outcome.scores == pytest.approx(local_outcome.scores, abs=1e-5)
        assert (hub_outcome.tokens, hub_outcome.windows) == (
            local_outcome.tokens,
            local_outcome.windows,
        )


def test_a_model_with_other_labels_is_rejected_at_start_unless_they_are_mapped() -> None:
    def expected() -> tuple[str, ...]:
        return ("negative", "positive")

    with LocalHub(labels=("LABEL_0", "LABEL_1")) as server:
        with (
            pytest.raises(ModelUnavailable, match="SENTQ_WORKER_HUB_LABELS"),
            scoring(server, expected=expected),
        ):
            pass
        renamed = {"LABEL_0": "negative", "LABEL_1": "positive"}
        with scoring(server, expected=expected, renamed=renamed) as scorer:
            (reply,) = scorer.score([ScriptedJob(["good"])])
            assert isinstance(reply, ScoredJob)
            assert reply.info.labels == ("negative", "positive")
        with (
            pytest.raises(ModelUnavailable, match="has no labels"),
            scoring(server, renamed={"LABEL_7": "negative"}),
        ):
            pass


def test_a_later_mismatch_of_labels_disables_the_hub(server: LocalHub) -> None:
    local: list[tuple[str, ...]] = []
    with scoring(server, expected=lambda: local[0] if local else None) as scorer:
        assert isinstance(scorer.score([ScriptedJob(["a"])])[0], ScoredJob)
        local.append(("negative", "positive"))  # The local provider starts, with other labels.
        assert isinstance(scorer.score([ScriptedJob(["b"])])[0], EngineUnavailable)
        assert scorer.breaker.state is BreakerState.STOPPED


def test_four_concurrent_workers_make_exactly_the_permitted_calls(
    server: LocalHub, redis_server: RedisProcess
) -> None:
    permitted = 37
    hubs = [
        make_hub(
            server,
            budget=Budget(redis_server.client, BudgetLimits(calls_per_day=permitted)),
        )
        for _ in range(4)
    ]
    rows: list[object] = []

    def work(hub: HubPool, number: int) -> None:
        hub.start()
        rows.extend(hub.predict([HubRequest(f"{number} {n}") for n in range(25)]))

    threads = [
        threading.Thread(target=work, args=pair) for pair in zip(hubs, range(4), strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for hub in hubs:
        hub.stop()
    assert server.calls == permitted
    # The first call of each worker checks the model.
    assert sum(isinstance(row, list) for row in rows) == permitted - 4
    assert sum(isinstance(row, EngineUnavailable) for row in rows) == 100 - permitted + 4


@pytest.mark.parametrize(
    ("limits", "calls"),
    [
        (BudgetLimits(calls_per_day=0), 0),
        (BudgetLimits(calls_per_month=2), 2),
        (BudgetLimits(chars_per_day=25), 2),
        (BudgetLimits(chars_per_month=9, calls_per_day=5), 0),
        (BudgetLimits(chars_per_month=10, calls_per_day=5), 1),
    ],
)
def test_calls_and_characters_are_counted_by_day_and_month(
    redis_server: RedisProcess, limits: BudgetLimits, calls: int
) -> None:
    budget = Budget(redis_server.client, limits)
    for _ in range(calls):
        budget.reserve(10)
    with pytest.raises(EngineUnavailable) as spent:
        budget.reserve(10)
    now = datetime.now(UTC)
    monthly = limits.calls_per_month is not None or limits.chars_per_month is not None
    most_s = (32 - now.day if monthly else 1) * 86400
    assert spent.value.retry_after_s is not None
    assert 0 < spent.value.retry_after_s <= most_s
    with redis_server.client() as client:
        stored = {k.decode(): int(v) for k, v in client.hgetall("sentq.hub.budget").items()}
        if calls:
            assert stored["day_calls"] == stored["month_calls"] == calls
            assert stored["day_chars"] == stored["month_chars"] == 10 * calls
            assert stored["month"] == now.year * 12 + now.month
            # The budget of another day is not used up; that of this month still is.
            client.hset("sentq.hub.budget", mapping={"day": stored["day"] - 1})
            if limits.calls_per_month is None and limits.chars_per_month is None:
                budget.reserve(10)
            else:
                with pytest.raises(EngineUnavailable):
                    budget.reserve(10)


def test_a_worker_knows_what_all_workers_have_used_of_each_limit(
    redis_server: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = BudgetLimits(calls_per_day=3, chars_per_month=100)
    one, other = Budget(redis_server.client, limits), Budget(redis_server.client, limits)
    assert list(one.uses) == []
    one.reserve(10)
    other.reserve(20)
    other.reserve(30)
    with pytest.raises(EngineUnavailable):
        one.reserve(10)
    assert one.uses == (
        BudgetUse("day", "calls", 3, 3, is_used_up=True, at_s=one.uses[0].at_s),
        BudgetUse("month", "chars", 60, 100, is_used_up=False, at_s=one.uses[0].at_s),
    )
    assert [use.used for use in other.uses] == [3, 60]
    assert other.uses[0].at_s < one.uses[0].at_s < time.time() + 1
    with pytest.raises(EngineUnavailable):
        other.reserve(50)
    assert [use.is_used_up for use in other.uses] == [True, True], "40 are left, too few for 50"
    with redis_server.client() as client:
        client.delete("sentq.hub.budget")  # An administrator lets them begin again.
    one.reserve(10)
    assert [(use.used, use.is_used_up) for use in one.uses] == [(1, False), (10, False)]
    a_day_later = time.monotonic() + 86400
    monkeypatch.setattr(time, "monotonic", lambda: a_day_later)
    assert one.uses[0].used == 0, "the day has ended, and no call was made since"


@pytest.mark.parametrize(("fails", "code"), [(True, "budget_exhausted"), (False, None)])
def test_a_text_over_the_budget_fails_or_waits_as_configured(
    server: LocalHub, redis_server: RedisProcess, *, fails: bool, code: str | None
) -> None:
    budget = Budget(redis_server.client, BudgetLimits(calls_per_day=2))
    with scoring(server, budget=budget, fails_on_budget=fails, in_flight=1) as scorer:
        within, over = scorer.score([ScriptedJob(["a"]), ScriptedJob(["b"])])
    assert isinstance(within, ScoredJob)
    if code is None:
        assert isinstance(over, EngineUnavailable)
    else:
        assert isinstance(over, ScoredJob)
        assert [o.code for o in over.outcomes if isinstance(o, TextError)] == [code]
    assert server.texts == ["a"]


@pytest.mark.slow
def test_no_call_is_made_that_cannot_be_counted(server: LocalHub, own_redis: RedisProcess) -> None:
    budget = Budget(own_redis.client, BudgetLimits(calls_per_day=100))
    with scoring(server, budget=budget) as scorer:
        own_redis.stop()
        assert isinstance(scorer.score([ScriptedJob(["a"])])[0], EngineUnavailable)
        assert server.calls == 0
        own_redis.start()
        assert isinstance(scorer.score([ScriptedJob(["a"])])[0], ScoredJob)


@pytest.mark.slow
def test_workers_of_a_host_share_the_breaker_state(
    server: LocalHub, redis_server: RedisProcess
) -> None:
    def shared_state(host: str) -> SharedBreakerState:
        return SharedBreakerState(redis_server.client, host=host)

    with (
        scoring(server, shared_state=shared_state("here"), payment_pause_s=2.5) as one,
        scoring(server, shared_state=shared_state("here")) as two,
        scoring(server, shared_state=shared_state("there")) as other_host,
    ):
        server.script("402")
        assert isinstance(one.score([ScriptedJob(["a"])])[0], EngineUnavailable)
        time.sleep(0.55)  # The shared state is cached for half a second.
        server.texts.clear()
        assert isinstance(two.score([ScriptedJob(["b"])])[0], EngineUnavailable)
        assert server.calls == 0
        assert two.breaker.state is BreakerState.OPEN
        assert "(402)" in two.breaker.snapshot.reason
        assert isinstance(other_host.score([ScriptedJob(["c"])])[0], ScoredJob)
        eventually(
            lambda: isinstance(one.score([ScriptedJob(["a"])])[0], ScoredJob),
            what="the end of the pause",
        )
        time.sleep(0.55)
        assert isinstance(two.score([ScriptedJob(["b"])])[0], ScoredJob)
        assert server.texts.count("good") == 1  # one probe for both
