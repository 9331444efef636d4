"""The layout of the sources and the words in them keep to their limits."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.support.measures import (
    FORBIDDEN_WORDS,
    INDEFINITE,
    ROOT,
    any_per_1000_lines,
    class_names,
    layers_of_contracts,
    modules_by_folder,
    words_in,
)

PACKAGES = sorted(
    file.relative_to(ROOT)
    for folder in ("producer", "worker", "model/sentq_model")
    for file in (ROOT / folder).rglob("__init__.py")
)

#: Django finds a command of manage.py by this name of its class.
PRESCRIBED = {"Command"}


def test_no_folder_holds_more_than_14_modules() -> None:
    assert {folder: n for folder, n in modules_by_folder().items() if n > 14} == {}


def test_no_contract_has_more_than_6_layers() -> None:
    layers = layers_of_contracts()
    assert {"Imports point downward in the client", "Imports point downward in the worker"} <= set(
        layers
    )
    assert {name: n for name, n in layers.items() if n > 6} == {}


@pytest.mark.parametrize("package", PACKAGES, ids=str)
def test_each_package_says_what_it_holds(package: Path) -> None:
    text = (ROOT / package).read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(text))


def test_no_two_classes_have_the_same_name() -> None:
    shared = {name: files for name, files in class_names().items() if len(files) > 1}
    assert {name: files for name, files in shared.items() if name not in PRESCRIBED} == {}


def test_the_worker_says_any_at_most_10_times_in_1000_lines() -> None:
    assert any_per_1000_lines(ROOT / "worker" / "sentq_worker") <= 10


@pytest.mark.parametrize("pattern", [INDEFINITE, FORBIDDEN_WORDS], ids=["actors", "metaphors"])
def test_sources_and_documents_use_the_terms_of_the_field(pattern: re.Pattern[str]) -> None:
    found = words_in(ROOT, pattern)
    # One sentence of the training data.
    assert sum(map(len, found.values())) <= 1, found
