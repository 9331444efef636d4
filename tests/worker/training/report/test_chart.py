"""The chart of a training, and the command that the record keeps."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from sentq_worker.training.report.chart import chart
from sentq_worker.training.report.record import command_line
from tests.support.labelled_rows import write_rows

if TYPE_CHECKING:
    from pathlib import Path


def test_the_chart_is_an_svg_with_a_curve_per_file() -> None:
    svg = chart(
        [(step, math.exp(-step / 50)) for step in range(1, 101)],
        {"all": [(50, 0.7), (100, 0.8)], "rows <1> & co.jsonl": [(50, 0.6), (100, 0.9)]},
    )
    root = ET.fromstring(svg)  # noqa: S314 - our own
    lines = root.findall("{http://www.w3.org/2000/svg}polyline")
    assert len(lines) == 3
    assert "rows &lt;1&gt; &amp; co.jsonl" in svg
    places = [
        float(x)
        for line in lines
        for pair in line.attrib["points"].split()
        for x in pair.split(",")
    ]
    assert all(math.isfinite(place) for place in places)


def test_a_chart_of_no_point_or_one_point_can_be_drawn() -> None:
    ET.fromstring(chart([], {}))  # noqa: S314 - our own
    ET.fromstring(chart([(1, 0.0)], {"all": [(1, 0.5)]}))  # noqa: S314 - our own


def test_the_recorded_command_names_no_folders(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", [])
    arguments = ["/bin/sentq-worker", "train", f"{path}@0.5", f"--out={tmp_path}/new", "--seed=3"]
    expected = "sentq-worker train rows.jsonl@0.5 --out=new --seed=3"
    assert command_line(arguments) == expected
