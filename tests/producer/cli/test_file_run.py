"""Files through the queue: models, failed jobs, and workers that stop."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from sentq.cli.file_run import score_files
from sentq.errors import RedisUnavailable, ResultsUnavailable
from sentq.files.run.manifest import Manifest
from sentq.files.run.options import RunRequest, Split
from sentq.files.run.scoring import ModelName
from sentq.files.run.state import RunChanged
from sentq.testing import Kit, inline

#: More than a client has in flight.
_ROWS = 3000


@pytest.fixture
def kit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kit]:
    """A kit, and rows in in.csv of the present folder."""
    monkeypatch.chdir(tmp_path)
    texts = ("a good day", "a bad day", "")
    Path("in.csv").write_text("n,text\n" + "".join(f"{n},{texts[n % 3]}\n" for n in range(_ROWS)))
    with inline() as kit:
        yield kit


def _score(kit: Kit, **options: Any) -> list[dict[str, Any]]:
    request = RunRequest(
        inputs=["in.csv"], out="out.jsonl", program="sentq", rows_per_part=300, **options
    )
    with pytest.raises(typer.Exit) as ended:
        score_files(request, kit.settings, timeout_s=10, local_only=False)
    assert ended.value.exit_code == 1  # A third of the rows is empty.
    return [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]


def test_rows_are_scored_by_workers(kit: Kit) -> None:
    rows = _score(kit)
    assert [row["n"] for row in rows] == [str(n) for n in range(_ROWS)]
    found = [row["sentq_label"] or row["sentq_error"] for row in rows]
    assert found == ["positive", "negative", "empty_text"] * (_ROWS // 3)


def test_the_parts_of_texts_are_columns(kit: Kit) -> None:
    row, *_ = _score(kit, split=Split.SENTENCES)
    assert row["sentq_mixed"] is False
    (part,) = row["sentq_parts"]
    assert (part["start"], part["end"], part["label"]) == (0, 10, "positive")
    assert len(kit.assert_submitted(detail="sentences")) == len(kit.submitted)


def test_parts_of_other_kinds_are_not_mixed(kit: Kit) -> None:
    _end_early(kit, split=Split.SENTENCES)
    with pytest.raises(RunChanged, match="--split"):
        _score(kit, split=Split.PARAGRAPHS)
    with pytest.raises(RunChanged, match="--split"):
        _score(kit)


def test_a_failed_job_is_no_end_of_a_run(kit: Kit) -> None:
    kit.fail_next("WorkerLost", jobs=3)
    rows = _score(kit)
    assert len(rows) == _ROWS
    # All three jobs were sent again, text by text.
    assert all(row["sentq_error"] in {None, "empty_text"} for row in rows)


def _end_early(kit: Kit, **options: Any) -> None:
    """Let a run end when some of its texts are scored."""
    scored = 0

    def fails(text: str) -> str:
        nonlocal scored
        scored += 1
        if scored == 1800:
            raise ResultsUnavailable("no Redis")
        return "positive"

    kit.scores = fails
    with pytest.raises(RedisUnavailable):
        _score(kit, **options)


def test_a_run_without_redis_keeps_its_parts_and_goes_on(
    kit: Kit, capsys: pytest.CaptureFixture[str]
) -> None:
    _end_early(kit)
    assert "the same command goes on from the parts in out.jsonl.parts" in capsys.readouterr().err
    kit.scores = lambda _: "negative"
    labels = [row["sentq_label"] for row in _score(kit)]
    assert {*labels[:300]} == {"positive", None}
    assert {*labels[-300:]} == {"negative", None}


def test_outcomes_of_another_model_are_not_mixed(kit: Kit) -> None:
    _end_early(kit)
    manifest = Manifest.read(Path("out.jsonl.parts"))
    assert manifest is not None
    manifest.model = ModelName("owner/other", None)
    manifest.write()
    kit.scores = lambda _: "positive"
    with pytest.raises(RunChanged, match=r"scored by owner/other, and now \S+ answers"):
        _score(kit)
    assert len(_score(kit, restart=True)) == _ROWS
