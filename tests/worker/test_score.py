"""`sentq-worker score`: files through the engine of a process, without Redis."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from sentq.contract import Prediction, TextError
from sentq_worker import Scorer
from tests.support.hub_server import HubServer

pytestmark = [pytest.mark.slow, pytest.mark.models]

_ROWS = 600
_TEXTS = ("a good day", "the movie was awful and dull", "")


@pytest.fixture(autouse=True)
def _in_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in.csv").write_text("id,text\n" + "".join(f"{n},{_TEXTS[n % 3]}\n" for n in range(_ROWS)))


def _command(model: Path, *arguments: str) -> list[str]:
    options = ("--model", str(model), "--device", "cpu", "--threads", "1", *arguments)
    return [sys.executable, "-m", "sentq_worker", "score", *options]


def _run(model: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        _command(model, *arguments),
        # There is no Redis, and none is asked for.
        env=os.environ | {"SENTQ_BROKER_URL": "redis://127.0.0.1:1/0"} | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def _cells(name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(Path(name).read_text())))


def test_rows_have_the_scores_of_the_engine(tiny_model: Path) -> None:
    done = _run(tiny_model, "in.csv", "--out", "out.csv", "--progress", "json")
    assert done.returncode == 1, done.stderr  # Some texts are empty.
    rows = _cells("out.csv")
    assert [row["id"] for row in rows] == [str(n) for n in range(_ROWS)]
    expected = Scorer(model=tiny_model, device="cpu", threads=1).score(_TEXTS)
    for row, outcome in zip(rows, cycle(expected), strict=False):
        if isinstance(outcome, TextError):
            assert row["sentq_error"] == outcome.code == "empty_text"
        else:
            assert row["sentq_label"] == outcome.label
            assert float(row["sentq_score"]) == pytest.approx(outcome.score, abs=1e-5)
    summary = json.loads(done.stderr.splitlines()[-1])
    assert summary["event"] == "summary"
    assert summary["rows"] == _ROWS
    assert summary["core_s"] > 0


def test_sentences_have_the_scores_of_the_engine(tiny_model: Path) -> None:
    text = "A good day. The movie was awful and dull!"
    Path("in.jsonl").write_text(json.dumps({"text": text}))
    done = _run(tiny_model, "in.jsonl", "--out", "out.jsonl", "--split", "sentences")
    assert done.returncode == 0, done.stderr
    row = json.loads(Path("out.jsonl").read_text())
    found = [text[part["start"] : part["end"]] for part in row["sentq_parts"]]
    assert found == ["A good day.", "The movie was awful and dull!"]
    expected = Scorer(model=tiny_model, device="cpu", threads=1).score(found)
    for part, outcome in zip(row["sentq_parts"], expected, strict=True):
        assert isinstance(outcome, Prediction)
        assert part["label"] == outcome.label
        assert part["score"] == pytest.approx(outcome.score, abs=1e-5)


def test_a_run_that_ctrl_c_stops_goes_on(tiny_model: Path) -> None:
    Path("in.csv").write_text("id,text\n" + "".join(f"{n},day {n}\n" for n in range(40_000)))
    arguments = ("in.csv", "--out", "out.csv", "--rows-per-part", "1024")
    process = subprocess.Popen(_command(tiny_model, *arguments), stderr=subprocess.PIPE, text=True)
    manifest = Path("out.csv.parts/_manifest.json")
    while not manifest.exists() or not json.loads(manifest.read_text())["parts"]:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "the same command goes on from the parts in out.csv.parts" in said
    assert "Traceback" not in said
    done = _run(tiny_model, *arguments)
    assert done.returncode == 0, done.stderr
    assert "going on after " in done.stderr
    assert [row["id"] for row in _cells("out.csv")] == [str(n) for n in range(40_000)]


def test_errors_are_one_line(tiny_model: Path) -> None:
    for arguments, code, says in (
        (("none.csv", "--out", "out.csv"), 2, "cannot read none.csv"),
        (("in.csv", "--out", "out.csv", "--field", "body"), 2, "there is no column 'body'"),
        (("in.csv", "--out", "out.csv", "--model", "./none"), 78, "none"),
        (("hf://models/x", "--out", "out.csv"), 2, "is not hf://datasets/owner/name"),
    ):
        done = _run(tiny_model, *arguments)
        assert done.returncode == code, done.stderr
        assert says in done.stderr
        assert "Traceback" not in done.stderr


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer() as hub:
        yield hub


def test_a_data_set_of_the_hub_is_scored(hub: HubServer, tiny_model: Path, tmp_path: Path) -> None:
    files = {}
    for number, text in enumerate(("a good day", "the movie was awful and dull")):
        stream = io.BytesIO()
        parquet.write_table(pa.table({"body": [text], "n": [number]}), stream)
        files[f"default/test/000{number}.parquet"] = stream.getvalue()
    hub.commit("datasets/owner/reviews", files, branch="refs/convert/parquet")
    done = _run(
        tiny_model,
        *("hf://datasets/owner/reviews:test", "--field", "body", "--out", "out.parquet"),
        HF_ENDPOINT=hub.url,
        HF_HOME=str(tmp_path / "home"),
        HF_HUB_ETAG_TIMEOUT="2",
        HF_HUB_OFFLINE="0",
        NO_PROXY="127.0.0.1",
        no_proxy="127.0.0.1",
    )
    assert done.returncode == 0, done.stderr
    table = parquet.read_table("out.parquet")
    assert table["n"].to_pylist() == [0, 1]
    assert all(table["sentq_label"].to_pylist())
