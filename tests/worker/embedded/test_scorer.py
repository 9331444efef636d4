"""The public scorer: outcomes of texts and batches, copies in other processes, what is imported."""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pytest

import sentq_worker
from sentq.contract import MAX_CHARS_PER_TEXT, ErrorCode, Limits, Outcome, Prediction, TextError
from sentq.errors import InvalidInput, SettingsError
from sentq_worker import Scorer
from sentq_worker.embedded import models
from sentq_worker.engine.base import DeviceUnavailable, ModelUnavailable
from sentq_worker.providers.loading import load_scorer
from sentq_worker.scoring import scorer as scoring
from sentq_worker.settings import WorkerSettings
from tests.support.models.tiny import make_tiny_model

TEXTS = ["a good day", "the movie was awful and dull", "it is a table", "a good day"]

COLUMNS = ["label", "score", "sentiment", "error", "message"]

#: Texts that have no prediction, and why.
BAD: list[tuple[object, ErrorCode]] = [
    (None, ErrorCode.NOT_A_STRING),
    (float("nan"), ErrorCode.NOT_A_STRING),
    (5, ErrorCode.NOT_A_STRING),
    (True, ErrorCode.NOT_A_STRING),
    (b"good", ErrorCode.NOT_A_STRING),
    (["good"], ErrorCode.NOT_A_STRING),
    ("", ErrorCode.EMPTY_TEXT),
    (" \n", ErrorCode.EMPTY_TEXT),
    ("good \ud83d", ErrorCode.LONE_SURROGATE),
    ("a" * (MAX_CHARS_PER_TEXT + 1), ErrorCode.TEXT_TOO_LONG),
]


@pytest.fixture
def scorer(tiny_model: Path) -> Scorer:
    return Scorer(model=tiny_model, dtype="float32", threads=1)


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The options of each model that is loaded in the test."""
    gc.collect()
    loaded: list[object] = []
    real = models._load

    def load(options: Any, **others: bool) -> Any:
        loaded.append(options)
        return real(options, **others)

    monkeypatch.setattr(models, "_load", load)
    monkeypatch.setattr(models, "_models", models._Models())
    return loaded


def _run(program: str) -> str:
    """Run a program, and return what it has printed."""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=100, check=True
    )
    return done.stdout


def _expected(model: Path, texts: list[object]) -> list[Outcome]:
    settings = WorkerSettings.load(model=str(model), dtype="float32", threads=1)
    return load_scorer(settings, Limits()).score([texts])[0]


# --- Texts -----------------------------------------------------------------------------------


def test_texts_have_the_outcomes_of_a_worker(scorer: Scorer, tiny_model: Path) -> None:
    texts: list[object] = [*TEXTS, *(text for text, _ in BAD), "a fine hotel " * 60]
    assert scorer.score(texts) == _expected(tiny_model, texts)


def test_a_bad_text_is_an_outcome_and_affects_no_other(scorer: Scorer) -> None:
    texts = [each for text, _ in BAD for each in (text, "a good day")]
    outcomes = scorer.score(texts)
    assert [each.code for each in outcomes[::2] if isinstance(each, TextError)] == [
        code for _, code in BAD
    ]
    assert outcomes[1::2] == scorer.score(["a good day"]) * len(BAD)


def test_any_iterable_is_scored_and_a_string_is_one_text(scorer: Scorer) -> None:
    assert scorer.score(iter(TEXTS)) == scorer.score(TEXTS)
    assert scorer.score(TEXTS[0]) == scorer.score(TEXTS[:1])
    assert scorer.score([]) == []


def test_texts_of_several_calls_of_the_engine_keep_their_order(
    scorer: Scorer, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts: list[object] = [f"a good day {number} {'fine ' * (number % 7)}" for number in range(300)]
    expected = [pytest.approx(each.scores) for each in _predictions(_expected(tiny_model, texts))]
    # As if there were a thousand times as many texts: 70 slices, in 9 calls.
    monkeypatch.setattr(scoring, "_SLICE_CHARS", 100)
    assert [each.scores for each in _predictions(scorer.score(texts))] == expected


def _predictions(outcomes: list[Outcome]) -> list[Prediction]:
    found = [each for each in outcomes if isinstance(each, Prediction)]
    assert len(found) == len(outcomes)
    return found


def test_markup_is_left_out_if_that_is_asked_for(scorer: Scorer, tiny_model: Path) -> None:
    cleaning = Scorer(model=tiny_model, dtype="float32", threads=1, clean="html")
    (plain,) = scorer.score(["a good day"])
    assert cleaning.score(["a <b>good</b> day"]) == [plain]
    assert scorer.score(["a <b>good</b> day"]) != [plain]
    (empty,) = cleaning.score(["<br>"])
    assert isinstance(empty, TextError)
    assert empty.code is ErrorCode.EMPTY_TEXT


def test_parts_are_scored_as_texts_and_stand_where_they_were_sent(
    scorer: Scorer, tiny_model: Path
) -> None:
    by_parts = Scorer(
        model=tiny_model, dtype="float32", threads=1, clean="html", detail="sentences"
    )
    text = "<p>A good day.</p> The movie was <b>awful</b> and dull!"
    found, whole, bad = by_parts.score([text, "a good day", 5])
    assert isinstance(found, Prediction)
    assert found.parts is not None
    sentences = [text[part.start : part.end] for part in found.parts]
    assert sentences == ["A good day.", "The movie was <b>awful</b> and dull!"]
    alone = _predictions(scorer.score(["A good day.", "The movie was awful and dull!"]))
    assert [part.label for part in found.parts] == [each.label for each in alone]
    assert [part.score for part in found.parts] == pytest.approx([each.score for each in alone])
    assert isinstance(whole, Prediction)
    assert whole.parts is not None
    assert [(part.start, part.end, part.scores) for part in whole.parts] == [(0, 10, whole.scores)]
    assert whole.mixed is False
    assert isinstance(bad, TextError)

    columns = by_parts({"text": [text, None]})
    assert by_parts.column_types["sentq_mixed"] == "boolean"
    assert json.loads(str(columns["sentq_parts"][0]))[1]["label"] == found.parts[1].label
    table = by_parts(pa.table({"text": [text, None]}))
    assert table["sentq_mixed"].to_pylist() == columns["sentq_mixed"]
    assert table["sentq_parts"].to_pylist() == columns["sentq_parts"]
    assert columns["sentq_parts"][1] is columns["sentq_mixed"][1] is None
    copied = pickle.loads(pickle.dumps(by_parts))  # noqa: S301 - made here
    assert copied.score([text]) == by_parts.score([text])
    with pytest.raises(InvalidInput, match="sentences"):
        Scorer(detail="words")  # type: ignore[arg-type]


# --- Batches ---------------------------------------------------------------------------------


def test_a_batch_gets_columns_of_the_outcomes(scorer: Scorer) -> None:
    texts = [*TEXTS, None]
    scored = scorer({"text": texts, "id": [*range(5)]})
    predictions = _predictions(scorer.score(TEXTS))
    assert scored == {
        "text": texts,
        "id": [*range(5)],
        "sentq_label": [*(each.label for each in predictions), None],
        "sentq_score": [*(each.score for each in predictions), None],
        "sentq_sentiment": [*(each.sentiment for each in predictions), None],
        "sentq_error": [None] * 4 + ["not_a_string"],
        "sentq_message": [None] * 4 + ["a text must be a string, not NoneType"],
    }


def test_the_column_of_texts_and_the_new_names_can_be_chosen(tiny_model: Path) -> None:
    scorer = Scorer(model=tiny_model, threads=1, column="review", prefix="")
    scored = scorer(pa.table({"review": TEXTS, "text": [1, 2, 3, 4]}))
    assert scored.column_names == ["review", "text", *COLUMNS]
    assert list(scorer.column_types) == scored.column_names[2:]


def test_an_iterator_of_batches_is_read_as_its_outcomes_are(scorer: Scorer) -> None:
    """Spark gives and takes iterators."""
    taken = []

    def batches() -> Iterator[dict[str, list[str]]]:
        for text in TEXTS:
            taken.append(text)
            yield {"text": [text]}

    scored = scorer(batches())
    assert next(scored)["sentq_label"] == [_predictions(scorer.score(TEXTS[:1]))[0].label]
    assert taken == TEXTS[:1]
    assert len(list(scored)) == 3


def test_names_are_checked_before_a_model_is_loaded(scorer: Scorer, loads: list[object]) -> None:
    for batch in ({"review": TEXTS}, {"text": TEXTS, "sentq_score": TEXTS}, TEXTS):
        with pytest.raises(InvalidInput):
            scorer(batch)
    assert loads == []


# --- Loading ---------------------------------------------------------------------------------


def test_the_model_is_loaded_with_the_first_text(scorer: Scorer, loads: list[object]) -> None:
    assert scorer({"text": []})["sentq_label"] == []
    assert (scorer.is_loaded, len(loads)) == (False, 0)
    scorer.score(["good"])
    scorer({"text": TEXTS})
    assert (scorer.is_loaded, len(loads)) == (True, 1)


def test_load_loads_at_once_and_info_names_the_model(tiny_model: Path, loads: list[object]) -> None:
    scorer = Scorer.load(model=tiny_model, device="cpu", threads=1)
    assert len(loads) == 1
    assert scorer.info.model == "tiny"
    assert str(scorer.info.revision).startswith("sha256:")
    assert (scorer.info.backend, len(loads)) == ("local:cpu", 1)


def test_scorers_of_the_same_options_share_a_model(tiny_model: Path, loads: list[object]) -> None:
    first = Scorer.load(model=tiny_model, threads=1)
    second = Scorer.load(model=tiny_model, threads=1, column="review")
    Scorer.load(model=tiny_model, threads=1, dtype="float32")
    assert len(loads) == 2
    assert second.score(TEXTS) == first.score(TEXTS)


@pytest.mark.slow
def test_a_model_is_forgotten_with_its_last_scorer_but_kept_for_copies(
    tiny_model: Path, loads: list[object]
) -> None:
    made = Scorer.load(model=tiny_model, threads=1)
    del made
    gc.collect()
    sent = pickle.dumps(Scorer(model=tiny_model, threads=1))
    for _ in range(3):  # As tasks of a cluster.
        pickle.loads(sent).score(["good"])  # noqa: S301 - made above
        gc.collect()
    assert len(loads) == 2


def test_threads_share_a_model_and_its_outcomes_are_right(
    tiny_model: Path, loads: list[object]
) -> None:
    scorer = Scorer(model=tiny_model, threads=1, dtype="float32")
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(scorer.score, [[text] for text in TEXTS * 8]))
    assert len(loads) == 1
    expected = scorer.score(TEXTS)
    for number, (outcome,) in enumerate(found):
        other = expected[number % len(TEXTS)]
        assert isinstance(outcome, Prediction)
        assert isinstance(other, Prediction)
        assert outcome.scores == pytest.approx(other.scores, abs=1e-5)


def test_a_copy_has_the_settings_of_the_original_and_no_secret(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENTQ_WORKER_MODEL", str(tiny_model))
    monkeypatch.setenv("SENTQ_WORKER_LABELS", '{"negative": "bad", "positive": "fine"}')
    monkeypatch.setenv("SENTQ_WORKER_CACHE_SECRET", "a secret of 16 or more")
    sent = pickle.dumps(Scorer(threads=1))
    for name in ("MODEL", "LABELS", "CACHE_SECRET"):
        monkeypatch.delenv(f"SENTQ_WORKER_{name}")
    assert b"a secret" not in sent
    (outcome,) = pickle.loads(sent).score(["good"])  # noqa: S301 - made above
    assert set(outcome.scores) == {"bad", "neutral", "fine"}


def test_all_settings_that_scores_depend_on_travel(tiny_model: Path) -> None:
    settings = WorkerSettings.load(model=str(tiny_model), threads=1)
    read: set[str] = set()

    class Recorded:
        def __getattr__(self, name: str) -> object:
            read.add(name)
            return getattr(settings, name)

    load_scorer(cast("WorkerSettings", Recorded()), Limits())
    travelling: Any = Scorer(threads=1).__getstate__()["options"]
    assert {"model", "window_join", "on_other_language"} <= read
    assert read - {*travelling} == {"tokens_per_job"}


def test_a_copy_finds_a_folder_from_any_other(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tiny_model.parent)
    scorer = Scorer(model=tiny_model.name, threads=1)
    monkeypatch.chdir(tmp_path)
    assert scorer.info.model == "tiny"


def test_the_pickle_of_equal_scorers_is_equal(tiny_model: Path) -> None:
    """`datasets` finds earlier results by it."""
    loaded = Scorer.load(model=tiny_model, threads=1)
    assert pickle.dumps(loaded) == pickle.dumps(Scorer(model=tiny_model, threads=1))


@pytest.mark.slow  # Each process imports torch.
def test_processes_load_a_model_each_and_give_the_same_outcomes(scorer: Scorer) -> None:
    context = multiprocessing.get_context("spawn")
    with context.Pool(2) as pool:
        found = pool.map(scorer.score, [TEXTS, TEXTS])
    assert found == [scorer.score(TEXTS)] * 2


@pytest.mark.slow
def test_a_fork_of_a_process_that_has_scored_scores_too(tmp_path: Path, tiny_model: Path) -> None:
    """Threads of OpenMP, and locks that other threads held, are those of the parent."""
    program = f"""
import os, sys, threading
from sentq_worker import Scorer
from sentq_worker.embedded import models

scorer = Scorer.load(model={str(tiny_model)!r}, threads=None, dtype="float32")
texts = [f"a good day {{number}}" for number in range(300)]
expected = [each.label for each in scorer.score(texts)]
models._models._lock.acquire()
scorer._model._lock.acquire()
if (child := os.fork()) == 0:
    found = [each.label for each in scorer.score(texts)]
    os._exit(0 if found == expected else 3)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr


# --- Errors ----------------------------------------------------------------------------------


def test_a_model_that_is_none_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="neither a folder nor a Hub id"):
        Scorer.load(model=tmp_path / "missing")


def test_a_device_that_is_missing_is_an_error(tiny_model: Path) -> None:
    with pytest.raises(DeviceUnavailable):
        Scorer.load(model=tiny_model, device="cuda:77")


def test_an_option_that_is_wrong_is_an_error_at_once() -> None:
    with pytest.raises(SettingsError, match="device"):
        Scorer(device="gpu")
    with pytest.raises(TypeError, match="colum"):
        Scorer(colum="review")  # type: ignore[call-arg]


def test_labels_that_do_not_fit_are_an_error(tmp_path: Path) -> None:
    model = make_tiny_model(tmp_path / "two", labels=("bad", "good"))
    with pytest.raises(ModelUnavailable, match="labels"):
        Scorer.load(model=model, labels={"worse": "negative"})


def test_a_client_without_torch_is_told_what_to_install() -> None:
    program = """
import sys
sys.modules["torch"] = None
from sentq_worker import Scorer
from sentq_worker.engine.base import ModelUnavailable
try:
    Scorer.load()
except ModelUnavailable as error:
    print(error)
"""
    assert "torch is not installed" in _run(program)
    assert 'pip install "sentq[worker,model]"' in _run(program)


# --- What is imported ------------------------------------------------------------------------


def _imported(program: str) -> set[str]:
    """Run a program, and return the top packages that it has imported."""
    names = _run(f"{program}\nimport sys\nprint(*sys.modules)").split()
    return {name.partition(".")[0] for name in names}


#: What a queue needs.
QUEUE = {"celery", "kombu", "amqp", "billiard", "redis", "hiredis"}


@pytest.mark.slow
def test_neither_celery_nor_redis_is_imported_to_score(tiny_model: Path) -> None:
    program = f"""
from sentq_worker import Scorer
scorer = Scorer(model={str(tiny_model)!r}, threads=1)
assert scorer({{"text": ["good", None]}})["sentq_error"] == [None, "not_a_string"]
"""
    assert _imported(program) & QUEUE == set()


def test_the_import_of_the_package_and_an_unused_scorer_are_light() -> None:
    heavy = {"torch", "transformers", "tokenizers", "numpy", "huggingface_hub"}
    assert _imported("import sentq_worker") & (QUEUE | heavy | {"pydantic"}) == set()
    program = "from sentq_worker import Scorer; Scorer()({'text': []})"
    assert _imported(program) & (QUEUE | heavy) == set()


def test_an_unknown_name_of_the_package_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Scorrer'"):
        _ = sentq_worker.Scorrer
