"""Columnar batches: what is read of them, what is added, and what stays as it was."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from sentq.contract import ErrorCode, Outcome, Prediction, TextError
from sentq.errors import InvalidInput
from sentq.files.outcomes import OutcomeColumns
from sentq_worker.embedded.tables import add_outcomes, read_texts

TEXTS = ["good", None, "bad"]
OUTCOMES: list[Outcome] = [
    Prediction(label="positive", score=0.75, scores={}, sentiment=0.5, tokens=1, windows=1),
    TextError(code=ErrorCode.NOT_A_STRING, message="a text must be a string, not NoneType"),
    Prediction(label="joy", score=0.0, scores={}, sentiment=None, tokens=1, windows=1),
]
COLUMNS = OutcomeColumns(prefix="s_")
LABELS = ["positive", None, "joy"]
SCORES = [0.75, None, 0.0]
SENTIMENTS = [0.5, None, None]
ERRORS = [None, "not_a_string", None]
ADDED = {
    "s_label": LABELS,
    "s_score": SCORES,
    "s_sentiment": SENTIMENTS,
    "s_error": ERRORS,
    "s_message": [None, "a text must be a string, not NoneType", None],
}


def _scored(batch: Any, outcomes: list[Outcome] = OUTCOMES) -> Any:
    return add_outcomes(batch, "text", outcomes, COLUMNS)


def _texts(batch: object) -> list[object]:
    return read_texts(batch, "text", COLUMNS)


def _without_nan(values: list[Any]) -> list[object]:
    return [None if isinstance(each, float) and math.isnan(each) else each for each in values]


# --- Dicts -----------------------------------------------------------------------------------


def test_a_dict_of_lists_gets_lists_and_is_not_changed() -> None:
    batch = {"text": TEXTS, "id": [1, 2, 3]}
    assert _texts(batch) == TEXTS
    assert _scored(batch) == {"text": TEXTS, "id": [1, 2, 3], **ADDED}
    assert list(batch) == ["text", "id"]


def test_a_dict_of_arrays_gets_arrays() -> None:
    ids = np.arange(3, dtype=np.int16)
    batch = {"text": np.array(TEXTS, dtype=object), "id": ids}
    assert _texts(batch) == TEXTS
    scored = _scored(batch)
    assert scored["id"] is ids
    assert scored["s_score"].dtype == np.float64
    assert {name: _without_nan(scored[name].tolist()) for name in ADDED} == ADDED


def test_strings_of_numpy_are_read_as_strings() -> None:
    texts = _texts({"text": np.array(["good", "bad"])})
    assert [type(each) for each in texts] == [str, str]


class LazyColumns(dict[str, list[object]]):
    """A batch as `datasets` has them: `|` gives one of the same class, with the new columns."""

    def __or__(self, other: Any) -> Any:
        return LazyColumns({**self, **other})

    def items(self) -> Any:
        raise AssertionError("every column is read")


def test_a_dict_of_another_class_stays_of_it_and_other_columns_are_not_read() -> None:
    scored = _scored(LazyColumns(text=[*TEXTS], image=[0, 0, 0]))
    assert isinstance(scored, LazyColumns)
    assert scored["s_label"] == LABELS


# --- Arrow -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()], ids=str)
def test_an_arrow_table_keeps_its_types_and_metadata(kind: pa.DataType) -> None:
    schema = pa.schema(
        [("text", kind), ("id", pa.int8()), ("tags", pa.list_(pa.string()))], {b"made": b"here"}
    )
    table = pa.table({"text": TEXTS, "id": [1, 2, 3], "tags": [["a"], [], None]}, schema)
    assert _texts(table) == TEXTS
    scored = _scored(table)
    assert scored.select(["text", "id", "tags"]).equals(table, check_metadata=True)
    assert scored.schema.types[3:] == [pa.string(), *[pa.float64()] * 2, *[pa.string()] * 2]
    assert {name: scored[name].to_pylist() for name in ADDED} == ADDED


def test_arrow_columns_in_several_chunks_and_dictionaries_are_read() -> None:
    dictionary = pa.array(TEXTS).dictionary_encode()
    chunks = pa.chunked_array([dictionary[:1], dictionary[1:]])
    assert _texts(pa.table({"text": chunks})) == TEXTS


def test_a_record_batch_stays_one() -> None:
    scored = _scored(pa.RecordBatch.from_pydict({"text": TEXTS}))
    assert isinstance(scored, pa.RecordBatch)
    assert scored.to_pydict() == {"text": TEXTS, **ADDED}


def test_columns_without_any_value_have_their_types() -> None:
    """Parts of a data set have the same types, also one without errors or without rows."""
    empty = pa.table({"text": pa.array([], pa.string())})
    full = pa.table({"text": TEXTS})
    failed = [OUTCOMES[1]] * 3
    assert _scored(empty, []).schema == _scored(full).schema == _scored(full, failed).schema


# --- Frames ----------------------------------------------------------------------------------


def test_a_frame_of_pandas_keeps_its_index_and_types() -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(
        {
            "text": TEXTS,
            "id": pd.array([1, None, 3], dtype="Int8"),
            "day": pd.Timestamp("2026-1-1"),
        },
        index=[7, 7, 9],
    )
    assert _without_nan(_texts(frame)) == TEXTS
    scored = _scored(frame)
    assert list(scored.index) == [7, 7, 9]
    assert dict(scored.dtypes[["text", "id", "day"]]) == dict(frame.dtypes)
    assert [str(scored[name].dtype) for name in ADDED] == [
        "string",
        *["float64"] * 2,
        *["string"] * 2,
    ]
    assert {
        name: scored[name].astype(object).where(scored[name].notna(), None).tolist()
        for name in ADDED
    } == ADDED
    assert list(frame.columns) == ["text", "id", "day"]


def test_an_empty_frame_of_pandas_has_the_types_of_a_full_one() -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"text": TEXTS})
    assert dict(_scored(frame.iloc[:0], []).dtypes) == dict(_scored(frame).dtypes)


def test_a_frame_of_pandas_with_two_columns_of_texts_is_refused() -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame([["a", "b"]], columns=["text", "text"])
    with pytest.raises(InvalidInput, match="2 columns named 'text'"):
        _texts(frame)


def test_a_frame_of_polars_keeps_its_types() -> None:
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame({"text": TEXTS, "id": [1, 2, 3]}, schema_overrides={"id": pl.Int8})
    assert _texts(frame) == TEXTS
    scored = _scored(frame)
    assert scored.select("text", "id").equals(frame)
    assert scored.dtypes == [pl.String, pl.Int8, pl.String, *[pl.Float64] * 2, *[pl.String] * 2]
    assert {name: scored[name].to_list() for name in ADDED} == ADDED
    assert _scored(frame.clear(), []).dtypes == scored.dtypes


# --- Errors ----------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [dict, pa.table])
def test_a_missing_column_is_named_with_those_that_are_there(make: Any) -> None:
    with pytest.raises(InvalidInput, match="no column 'text': its columns are 'review', 'id'"):
        _texts(make({"review": ["good"], "id": [1]}))


def test_two_arrow_columns_of_the_same_name_are_refused() -> None:
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], ["text", "text"])
    with pytest.raises(InvalidInput, match="2 columns named 'text'"):
        _texts(table)


def test_a_message_has_few_and_short_names_of_columns() -> None:
    """Names may be texts, if a file without a header was read."""
    batch = {f"{number} {'secret ' * 100}": [""] for number in range(100)}
    with pytest.raises(InvalidInput) as caught:
        _texts(batch)
    assert len(str(caught.value)) < 1000
    assert "and 88 more" in str(caught.value)


@pytest.mark.parametrize("make", [dict, pa.table])
def test_a_column_that_would_be_overwritten_is_refused(make: Any) -> None:
    with pytest.raises(InvalidInput, match=r"has 's_score' already.*prefix="):
        _texts(make({"text": ["good"], "s_score": [5]}))


def test_a_row_in_place_of_a_batch_is_refused() -> None:
    with pytest.raises(InvalidInput, match="batched=True"):
        _texts({"text": "good", "id": 1})


@pytest.mark.parametrize("batch", [["good"], "good", None, 3, pa.array(["good"])])
def test_what_is_no_batch_is_refused_with_what_is_one(batch: object) -> None:
    with pytest.raises(InvalidInput, match=r"a dict of columns, a pyarrow Table.*Scorer\.score"):
        _texts(batch)
