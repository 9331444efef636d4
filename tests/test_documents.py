"""The documents: the generated page of settings, names of settings and tests, and links."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support import settings_page

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def _without_code(text: str) -> str:
    return re.sub(r"```.*?```", "", text, flags=re.DOTALL)


def test_the_page_of_settings_is_current() -> None:
    page = settings_page.PAGE.read_text(encoding="utf-8")
    assert page == settings_page.render(), "docs/settings.md is stale: run `make docs`"


def test_the_settings_that_the_readme_names_exist() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    _, _, section = readme.partition("| Setting | Default |")
    table = section.partition("\n\n")[0]
    named = set(re.findall(r"^\| `([a-z0-9_.]+)`", table, flags=re.MULTILINE))
    assert len(named) == 10
    assert named <= settings_page.names()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda file: file.name)
def test_relative_links_lead_to_files_and_headings_that_exist(document: Path) -> None:
    text = _without_code(document.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        if "://" in target:
            continue
        file = (document.parent / path).resolve() if path else document
        assert file.exists(), target
        if anchor:
            assert anchor in _anchors(file), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda file: file.name)
def test_tests_that_a_document_names_exist(document: Path) -> None:
    sources = (file.read_text(encoding="utf-8") for file in (ROOT / "tests").rglob("test_*.py"))
    defined = set(re.findall(r"def (test_\w+)", "\n".join(sources)))
    named = set(re.findall(r"`(test_\w+)`", document.read_text(encoding="utf-8")))
    assert named - defined == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda file: file.name)
def test_modules_that_a_document_names_exist(document: Path) -> None:
    packages = [ROOT / "producer" / "sentq", ROOT / "worker" / "sentq_worker"]
    folders = [each for package in packages for each in package.iterdir() if each.is_dir()]
    text = document.read_text(encoding="utf-8")
    for folder in folders:
        for name in re.findall(rf"`{folder.name}\.([a-z_]+)", text):
            if name in {"json", "svg"} or f"{folder.name}.{name}" in settings_page.names():
                continue  # A file or a setting, not a module.
            twins = [each / name for each in folders if each.name == folder.name]
            assert any(each.exists() or each.with_suffix(".py").exists() for each in twins), name


def _anchors(file: Path) -> set[str]:
    """The anchors that GitHub makes of a document's headings."""
    headings = re.findall(
        r"^#+ (.+)$", _without_code(file.read_text(encoding="utf-8")), flags=re.MULTILINE
    )
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}
