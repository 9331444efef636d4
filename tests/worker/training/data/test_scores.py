"""Scores of rows: the probability of each label, in place of a label or beside one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from pyarrow import parquet

from sentq_worker.training.data.corpus import hold_out, read_corpus
from sentq_worker.training.data.rows import Columns, Rows, Source, read_rows
from sentq_worker.training.errors import TrainingDataError
from tests.support.labelled_rows import write_rows
from tests.support.models.tiny import LABELS

if TYPE_CHECKING:
    from pathlib import Path

_SCORES = {"negative": 0.1, "neutral": 0.3, "positive": 0.6}


def columns(*names: str) -> Columns:
    return Columns.parse(text="text", label="label", names=names, scores="scores")


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.csv", "map.parquet", "struct.parquet"])
def test_every_format_yields_the_same_scores(name: str, tmp_path: Path) -> None:
    path, rest = tmp_path / name, {"negative": 1.0}
    if name == "rows.jsonl":
        write_rows(path, [{"text": "a", "scores": _SCORES}, {"text": "b", "scores": rest}])
    elif name == "rows.csv":
        cells = [json.dumps(each).replace('"', '""') for each in (_SCORES, rest)]
        path.write_text(f'text,scores\na,"{cells[0]}"\nb,"{cells[1]}"\n')
    else:
        kinds = {
            "map.parquet": pa.map_(pa.string(), pa.float64()),
            "struct.parquet": pa.struct(dict.fromkeys(LABELS, pa.float64())),
        }
        pairs = [list(each.items()) for each in (_SCORES, rest)]
        found = pairs if name == "map.parquet" else [_SCORES, rest]
        table = {"text": ["a", "b"], "scores": pa.array(found, kinds[name])}
        parquet.write_table(pa.table(table), path)
    rows = read_rows(path, columns=columns())
    assert rows.labels == ["positive", "negative"]
    assert rows.scores == [pytest.approx(_SCORES), rest]


def test_scores_stand_beside_a_label_and_are_read_only_if_their_field_is_named(
    tmp_path: Path,
) -> None:
    path = write_rows(
        tmp_path / "rows.jsonl",
        [
            {"text": "a", "label": "negative", "scores": _SCORES},
            {"text": "b", "label": "neutral"},
            {"text": "c", "label": "neutral", "scores": None},
        ],
    )
    rows = read_rows(path, columns=columns())
    assert rows.labels == ["negative", "neutral", "neutral"]
    assert rows.scores == [pytest.approx(_SCORES), None, None]
    assert rows.distributions[1:] == [{"neutral": 1.0}] * 2
    plain = read_rows(path)
    assert plain.labels == rows.labels
    assert plain.scores == []
    assert plain.digest != rows.digest
    assert plain.distributions[0] == {"negative": 1.0}


def test_scores_of_labels_with_one_new_name_are_added_up(tmp_path: Path) -> None:
    stars = {"1": 0.1, "2": 0.2, "3": 0.2, "4": 0.2, "5": 0.3}
    path = write_rows(tmp_path / "rows.jsonl", [{"text": "a", "scores": stars}])
    named = columns("1=negative", "2=negative", "3=", "4=positive", "5=positive")
    rows = read_rows(path, columns=named)
    assert rows.labels == ["positive"]
    assert rows.scores == [pytest.approx({"negative": 0.375, "positive": 0.625})]


def test_a_row_whose_most_probable_label_is_dropped_is_dropped(tmp_path: Path) -> None:
    scores = {"mixed": 0.6, "positive": 0.4}
    rows = [{"text": "a", "scores": scores}, {"text": "b", "label": "positive", "scores": scores}]
    path = write_rows(tmp_path / "rows.jsonl", rows)
    kept = read_rows(path, columns=columns("mixed="))
    assert kept.texts == ["b"]
    assert kept.scores == [{"positive": 1.0}]


@pytest.mark.parametrize(
    ("scores", "complaint"),
    [
        (3, "is a int, not an object"),
        ([0.5, 0.5], "is a list, not an object"),
        ("secret", "is no JSON"),
        ({"secret": 0.7}, "add up to 0.7, not to 1"),
        ({"secret": 0.9, "other": 0.9}, "add up to 1.8, not to 1"),
        ({"secret": 1.5, "other": -0.5}, "is no probability"),
        ({"secret": "1"}, "has a str where a probability should be"),
        ({"secret": True}, "has a bool"),
        ({" ": 1.0}, "has a label that is empty"),
        ({}, "add up to 0, not to 1"),
        ({"gone": 1.0}, "has no label that is kept"),
    ],
)
def test_invalid_scores_are_named_by_their_line_and_never_quoted(
    scores: object, complaint: str, tmp_path: Path
) -> None:
    rows = [{"text": "a", "label": "x"}, {"text": "b", "label": "x", "scores": scores}]
    path = write_rows(tmp_path / "rows.jsonl", rows)
    with pytest.raises(
        TrainingDataError, match=rf"rows\.jsonl, line 2: the field 'scores' .*{complaint}"
    ) as caught:
        read_rows(path, columns=columns("gone="))
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_row_without_scores_needs_a_label(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", [{"text": "a", "scores": None}])
    with pytest.raises(TrainingDataError, match="the field 'label' is missing"):
        read_rows(path, columns=columns())


def test_a_label_that_only_scores_have_is_learned(tmp_path: Path) -> None:
    rows = [{"text": "a", "scores": _SCORES}, {"text": "b", "label": "negative"}]
    path = write_rows(tmp_path / "rows.jsonl", rows)
    valid = write_rows(tmp_path / "valid.jsonl", rows[1:])
    corpus = read_corpus([Source(path)], validation=[valid], columns=columns())
    assert corpus.labels == LABELS
    assert corpus.has_scores


def test_held_out_rows_keep_their_scores() -> None:
    texts = [f"text {number}" for number in range(400)]
    scores = [{"a": number / 400, "b": 1 - number / 400} for number in range(400)]
    (kept,), (held,) = hold_out(
        [Rows("rows", texts, ["a"] * 400, "digest", scores=[*scores])], seed=1, names={"rows"}
    )
    of_text = dict(zip(texts, scores, strict=True))
    assert held.scores
    for rows in (kept, held):
        assert rows.scores == [of_text[text] for text in rows.texts]
