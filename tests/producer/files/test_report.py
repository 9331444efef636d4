"""The report of a run: what it counts, what it shows, and that texts stay texts."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from sentq.files import FileProblem, Format
from sentq.files.report.facts import ReportFacts, ReportOptions, read_facts
from tests.support.files.scoring import run_by_rule

_OPTIONS = ReportOptions(field="text", prefix="sentq_", date="day", category="shop")


@pytest.fixture(autouse=True)
def _in_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def rows() -> None:
    """in.csv: 400 days, two shops, hostile texts, a row without a date, an empty text."""
    lines = ["day,shop,text"]
    for n in range(400):
        day = dt.date(2023, 1, 1) + dt.timedelta(days=n)
        lines.append(f"{day},{'north' if n % 4 else 'south'},{'a good day' if n % 2 else 'bad'}")
    lines.append('x,<b>east</b>,"<script>alert(1)</script> good great"')
    lines.append("2023-01-01T10:00:00Z,north,")
    Path("in.csv").write_text("\n".join(lines) + "\n")


def _facts(out: str, form: Format, options: ReportOptions = _OPTIONS) -> ReportFacts:
    run_by_rule("in.csv", out)
    return read_facts([Path(out)], form, options)


@pytest.mark.parametrize(
    ("out", "form"),
    [("o.csv", Format.CSV), ("o.jsonl.gz", Format.JSONL), ("o.parquet", Format.PARQUET)],
)
@pytest.mark.usefixtures("rows")
def test_the_facts_are_those_of_the_rows(out: str, form: Format) -> None:
    facts = _facts(out, form)
    assert facts.rows == 402
    assert facts.errors == {"empty_text": 1}
    assert facts.all.labels == {"positive": 201, "negative": 200}
    assert facts.all.mean == pytest.approx(0.925 / 401)
    assert sum(facts.scores) == sum(facts.sentiments) == 401
    assert facts.without_date == 1
    assert {name: group.rows for name, group in facts.categories.items()} == {
        "north": 300,
        "south": 100,
        "<b>east</b>": 1,
    }
    assert [name for name, _ in facts.periods][:2] == ["2023-01", "2023-02"]
    assert facts.periods[1][1].rows == 28
    assert [len(each) for each in facts.surest.values()] == [5, 5]


def test_dates_of_parquet_are_read_with_their_types() -> None:
    days = [dt.date(2024, 2, 29), None, dt.date(2024, 3, 1)]
    times = [dt.datetime(2024, 2, 29, 23, 59), None, dt.datetime(2024, 3, 1)]  # noqa: DTZ001
    parquet.write_table(pa.table({"text": ["good"] * 3, "day": days, "time": times}), "in.parquet")
    run_by_rule("in.parquet", "out.parquet")
    for column in ("day", "time"):
        options = ReportOptions(field="text", prefix="sentq_", date=column)
        facts = read_facts([Path("out.parquet")], Format.PARQUET, options)
        assert [name for name, _ in facts.periods] == ["2024-02-29", "2024-03-01"]
        assert facts.without_date == 1


def test_categories_without_end_are_counted_together() -> None:
    facts, options = ReportFacts(), ReportOptions(field="text", prefix="", category="id")
    for n in range(20_000):
        facts.add({"text": "x", "label": "positive", "score": 0.9, "id": n}, options)
    assert len(facts.categories) == 5000
    assert facts.other.rows == 15_000


@pytest.mark.usefixtures("rows")
def test_the_page_loads_nothing_and_escapes_everything() -> None:
    run_by_rule(
        "in.csv",
        "out.parquet",
        report=Path("report.html"),
        report_date="day",
        report_by="shop",
    )
    page = Path("report.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; good" in page
    assert "&lt;b&gt;east&lt;/b&gt;" in page
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page
    assert not re.search(r"""(src|href)\s*=|url\(|@import|https?://""", page)
    assert "Sentiment by shop" in page
    assert "402" in page


@pytest.mark.usefixtures("rows")
def test_the_report_of_a_folder_reads_all_its_parts() -> None:
    run_by_rule("in.csv", "out/", rows_per_part=100, report=Path("report.html"))
    assert "402" in Path("report.html").read_text()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"report_date": "none"}, "--report-date: there is no column 'none'"),
        ({"report_by": "none"}, "--report-by: there is no column 'none'"),
        ({"columns": "label"}, "--report needs the column score"),
        ({"out": "-"}, "cannot be read again"),
        ({"report": None, "report_by": "shop"}, "go with --report"),
    ],
)
@pytest.mark.usefixtures("rows")
def test_a_report_that_cannot_be_written_is_refused_at_the_beginning(
    options: dict[str, Any], says: str
) -> None:
    all_options: dict[str, Any] = {"out": "out.csv", "report": Path("report.html")} | options
    out = str(all_options.pop("out"))
    with pytest.raises(FileProblem, match=says):
        run_by_rule("in.csv", out, **all_options)
    assert [path.name for path in Path().iterdir()] == ["in.csv"]
