"""The rows of the bundled model's last trainings: split, balance, statements, and the table."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
import tomllib
from collections import Counter
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from sentq_worker.evaluate.behaviour import load_cases
from sentq_worker.training.data.rows import Columns, read_rows
from tests.support.labelled_rows import separable_rows, write_rows
from tests.support.models.tiny import LABELS, make_tiny_model

_RECIPE = Path(__file__).parents[2] / "model" / "recipe"
sys.path.append(str(_RECIPE))

import aside  # noqa: E402
import distil  # noqa: E402
import more_statements  # noqa: E402
from average import scored_by  # noqa: E402

_PATTERNS = tomllib.loads((_RECIPE / "patterns.toml").read_text(encoding="utf-8"))


def rows_of(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


def labelled(name: str, count: int, **fields: object) -> list[dict[str, Any]]:
    return [
        {"text": f"{name} {number}", "label": LABELS[number % 3], **fields}
        for number in range(count)
    ]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of the data; a few texts are in two of them."""
    folder = tmp_path_factory.mktemp("data")
    twice = [{"text": f"Twice, {number}!", "label": "neutral"} for number in range(30)]
    copies = [{"text": f"twice {number}", "label": "neutral"} for number in range(30)]
    tree = {"split": "train", "root": True}
    files: dict[str, list[dict[str, Any]]] = {
        "dynasent_dev": [
            *labelled("round one", 90, source="dynasent_r1_dev"),
            *labelled("round two", 90, source="dynasent_r2_dev"),
        ],
        "vader_amazon_snippets": labelled("snippet", 90),
        "clothing_reviews": labelled("dress", 90),
        "cad_imdb_train": labelled("contrast", 90),
        "mds_reviews_train": labelled("product", 300),
        "imdb_train": labelled("film", 300),
        "sst2_train": [*labelled("p", 30, **tree), *labelled("q", 9, split="valid", root=False)],
        "sst5_phrases_train": [
            *labelled("whole", 30, **tree),
            *labelled("part", 30, split="train", root=False),
            *labelled("kept", 9, split="valid", root=True),
        ],
        "semeval_tweets_train": [*labelled("tweet", 60), *copies],
        "semeval_tweets_valid": [*labelled("other tweet", 9), *twice],
        "tse_tweets_train": labelled("more", 60),
        "goemotions_train": labelled("comment", 60),
        "goemotions_valid": labelled("other comment", 9),
    }
    for name, rows in files.items():
        write_rows(folder / f"{name}.jsonl.gz", rows)
    return folder


@pytest.fixture(scope="module")
def made(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    aside.main(data, folder)
    return folder


def test_no_row_that_is_set_aside_has_a_copy_in_the_training(made: Path) -> None:
    learned, kept = (
        {aside.letters(row["text"]) for path in (made / part).iterdir() for row in rows_of(path)}
        for part in ("train", "aside")
    )
    assert "twice1" in kept
    assert not learned & kept


def test_the_split_is_the_same_whatever_else_the_data_contain(data: Path, made: Path) -> None:
    rows = aside.read(data, aside.SOURCES[0])
    learned, kept = aside.split(rows[::2], aside.SOURCES[0])
    everyday = {row["text"] for row in rows_of(made / "aside" / "everyday.jsonl.gz")}
    assert learned
    assert {row["text"] for row in kept} == everyday & {row["text"] for row in rows[::2]}


def test_rows_that_an_earlier_training_held_out_stay_out(data: Path, made: Path) -> None:
    from sentq_worker.training.data.corpus import hold_out

    rows = read_rows(data / "mds_reviews_train.jsonl.gz")
    _, (held,) = hold_out([rows], seed=1, names=[rows.name])
    learned = {row["text"] for row in rows_of(made / "train" / "product_reviews.jsonl.gz")}
    assert held.texts
    assert not learned & set(held.texts)


def test_the_labels_of_a_source_get_the_number_of_the_middle_one() -> None:
    counts = {"negative": 10, "neutral": 100, "positive": 60}
    rows = [
        {"text": f"{label} {number}", "label": label}
        for label, count in counts.items()
        for number in range(count)
    ]
    kept = aside.balanced(rows, most=1_000)
    assert Counter(row["label"] for row in kept) == {"negative": 20, "neutral": 60, "positive": 60}
    assert max(Counter(row["text"] for row in kept).values()) == 2
    capped = Counter(row["label"] for row in aside.balanced(rows, most=15))
    assert set(capped.values()) == {15}


@pytest.mark.slow
def test_softened_rows_have_their_label_and_the_scores_of_the_model(tmp_path: Path) -> None:
    model = make_tiny_model(tmp_path / "model")
    path = write_rows(tmp_path / "rows.jsonl.gz", separable_rows(400, seed=1))
    out = tmp_path / "out"
    distil.main(model, out, [f"{path}@0.5=0.6"])
    rows = read_rows(out / "rows.jsonl.gz", columns=Columns(scores="scores"))
    (scored,) = scored_by(model, [rows], threads=1)
    assert len(rows) == len(rows.scores) == 200
    pairs = zip(rows.labels, rows.distributions, scored.probabilities, strict=True)
    for label, scores, found in pairs:
        given = 0.4 * found[LABELS.index(label)]
        assert scores[label] == pytest.approx(0.6 + given, abs=1e-3)
    written = (out / "rows.jsonl.gz").read_bytes()
    distil.main(model, out, [f"{path}@0.5=0.6"])
    assert (out / "rows.jsonl.gz").read_bytes() == written


@pytest.fixture(scope="module")
def statements() -> dict[str, list[dict[str, str]]]:
    return {part: more_statements.statements(part) for part in ("train", "aside")}


def test_statements_set_aside_have_other_patterns_and_other_words() -> None:
    words = _PATTERNS["words"]
    for name, listed in words["train"].items():
        if name not in {"small", "five", "ten", "number", "count"}:
            assert not set(listed.split("|")) & set(words["aside"][name].split("|")), name
    for kind, parts in _PATTERNS.items():
        if kind != "words":
            learned, kept = (set(chain(*parts[part].values())) for part in ("train", "aside"))
            assert learned
            assert kept
            assert not learned & kept, kind


def test_statements_are_reproducible_and_share_no_text_with_the_suite(
    statements: dict[str, list[dict[str, str]]],
) -> None:
    suite = {aside.letters(text) for case in load_cases() for text in case.texts}
    for part, rows in statements.items():
        assert more_statements.statements(part) == rows
        texts = [row["text"] for row in rows]
        assert len(set(texts)) == len(texts)
        assert not any(mark in text for text in texts for mark in "[]{}|")
        assert not {aside.letters(text) for text in texts} & suite
    learned = {aside.letters(row["text"]) for row in statements["train"]}
    assert not learned & {aside.letters(row["text"]) for row in statements["aside"]}


@pytest.mark.parametrize(
    ("share", "label"),
    [(1, "positive"), (0.74, "positive"), (0.7, None), (0.5, "neutral"), (0.4, "negative")],
)
def test_a_rating_has_a_side_only_where_readers_agree(share: float, label: str | None) -> None:
    assert more_statements.side_of(share) == label


def test_a_rating_is_on_the_side_of_its_label(
    statements: dict[str, list[dict[str, str]]],
) -> None:
    found = Counter[str]()
    for row in statements["train"]:
        if rating := re.fullmatch(r"([\d.]+)/(\d+)[.!]?", row["text"]):
            assert more_statements.side_of(float(rating[1]) / int(rating[2])) == row["label"]
            found[row["label"]] += 1
    assert set(found) == set(LABELS)


@pytest.mark.slow
def test_the_table_has_a_row_for_each_file_and_the_columns_of_each_model(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    model = make_tiny_model(tmp_path / "before")
    flat = make_tiny_model(tmp_path / "flat")
    weights = load_file(flat / "model.safetensors")
    weights["classifier.weight"].zero_()
    weights["classifier.bias"].zero_()
    save_file(weights, flat / "model.safetensors", metadata={"format": "pt"})
    rows = tmp_path / "rows"
    rows.mkdir()
    write_rows(rows / "film_reviews.jsonl.gz", separable_rows(60, seed=1))
    polar = [row for row in separable_rows(60, seed=2) if row["label"] != "neutral"]
    write_rows(rows / "tweets.jsonl.gz", polar)
    command: list[str | Path] = [sys.executable, _RECIPE / "kinds.py", rows, model, flat]
    command += ["--json", tmp_path / "f"]
    shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    head = "| kind of text | rows | recall before | recall flat | f1 before | f1 flat |"
    assert shown[0] == f"{head} ece before | ece flat |"
    assert shown[2].startswith("| film reviews | 60 |")
    assert shown[3].startswith(f"| tweets (no neutral) | {len(polar)} |")
    figures = json.loads((tmp_path / "f").read_text())
    assert figures["film_reviews.jsonl.gz"][1]["recall"] == pytest.approx(100 / 3)
    assert figures["tweets.jsonl.gz"][1]["recall"] == pytest.approx(50)


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.long
def test_the_script_makes_the_missing_training_and_the_mean(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run: dict[str, Any] = {
        "options": {"data": "imdb_train.jsonl.gz@0.5", "where": "split=train"}
        | {"epochs": "2", "seed": "1", "max-tokens": "64"},
        "epochs": [{}, {}],
        "sources": [{"name": "one", "rows": 9, "rows_per_epoch": 9, "labels": {"neutral": 9}}],
        "validation_rows_seen_in_training": {},
    }
    done = {"first": run, "mean": {"trainings": [{**run, "share": 1.0}]}}
    for seed, (name, record) in enumerate(done.items()):
        make_tiny_model(out / name, max_positions=256, seed=seed)
        (out / name / "training.json").write_text(json.dumps(record))
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    command: list[str | Path] = ["sh", _RECIPE / "train.sh", data, tmp_path / "no-body", out]
    subprocess.run(command, check=True, env={**os.environ, "PATH": path})
    record = json.loads((out / "model" / "training.json").read_text())
    assert [one["options"]["seed"] for one in record["trainings"]] == ["1", "4", "5"]
    assert sum(one["share"] for one in record["trainings"]) == pytest.approx(1)
    measured = {one["name"] for one in record["figures"]}
    assert {"everyday.jsonl.gz", "film_reviews.jsonl.gz", "statements_ratings.jsonl.gz"} <= measured
    assert {path.name for path in (out / "model").iterdir()} >= {"README.md", "tokenizer.json"}
