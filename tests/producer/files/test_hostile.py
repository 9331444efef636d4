"""Hostile files: no row is lost, no error is a traceback, and docs/files.md names the results."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.files.hostile import CASES, HostileFile, render, result_of, table_in_page


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_hostile_file_loses_no_row(
    case: HostileFile, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows, _ = result_of(case, form)
    assert rows == case.rows


def test_the_table_in_the_documents_says_what_hostile_files_give() -> None:
    assert table_in_page() == render()


def test_there_are_at_least_30_hostile_files() -> None:
    assert len(CASES) >= 30
