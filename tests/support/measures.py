"""Measures of the source code: modules in a folder, layers, words, and `Any` in annotations.

`python -m tests.support.measures [root]` prints them for a checkout; `tests/test_layout.py` holds
the limits.
"""

from __future__ import annotations

import ast
import re
import sys
import tokenize
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

__all__ = [
    "FORBIDDEN_WORDS",
    "any_per_1000_lines",
    "class_names",
    "layers_of_contracts",
    "modules_by_folder",
    "words_in",
]

ROOT: Final = Path(__file__).parents[2]

#: Where modules of ours stand.
FOLDERS: Final = ("producer", "worker", "model", "tests", "benchmarks", "examples")

#: Indefinite actors, and metaphors that the project used before it took the field's terms.
INDEFINITE: Final = re.compile(
    r"\b(nobody|somebody|whoever|whatever|whomever|lest|whichever)\b", re.IGNORECASE
)
FORBIDDEN_WORDS: Final = re.compile(
    r"\b(bury|buried|buries|graves?|heirs?|morgue|nursery|the house|in the box"
    r"|(?-i:is none)|in hand|wish(es)?|lapse[sd]?)\b",
    re.IGNORECASE,
)

_PROSE: Final = (".py", ".md", ".toml", ".conf", ".acl", ".yaml", ".lua", ".sh", ".Dockerfile")


def modules_by_folder(root: Path = ROOT) -> Counter[Path]:
    """Count the Python modules of each folder, `__init__` included."""
    return Counter(
        file.parent.relative_to(root)
        for top in FOLDERS
        for file in (root / top).rglob("*.py")
        if "__pycache__" not in file.parts
    )


def layers_of_contracts(root: Path = ROOT) -> dict[str, int]:
    """Return the number of layers of each contract of import-linter, by its name."""
    document = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = document["tool"]["importlinter"]["contracts"]
    return {one["name"]: len(one["layers"]) for one in contracts if one["type"] == "layers"}


def class_names(root: Path = ROOT) -> dict[str, list[Path]]:
    """Return the files that define each class, by the name of the class."""
    found: dict[str, list[Path]] = {}
    for file in _python_files(root, FOLDERS):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, []).append(file.relative_to(root))
    return found


def any_per_1000_lines(package: Path) -> float:
    """Return the uses of `Any` per 1,000 lines of a package, without blank lines and comments."""
    lines = uses = 0
    for file in package.rglob("*.py"):
        with file.open("rb") as stream:
            tokens = list(tokenize.tokenize(stream.readline))
        source = (line.strip() for line in file.read_text(encoding="utf-8").splitlines())
        lines += sum(bool(line) and not line.startswith("#") for line in source)
        uses += sum(token.type == tokenize.NAME and token.string == "Any" for token in tokens)
    return 1000 * uses / max(lines, 1)


def words_in(root: Path, pattern: re.Pattern[str]) -> dict[Path, list[str]]:
    """Return the matches of a pattern in sources and documents, by file, with line numbers."""
    found: dict[Path, list[str]] = {}
    for file in _texts(root):
        matches = [
            f"{number}: {match.group(0)}"
            for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1)
            for match in pattern.finditer(line)
        ]
        if matches:
            found[file.relative_to(root)] = matches
    return found


def _texts(root: Path) -> Iterator[Path]:
    own = Path(__file__).name
    for top in (*FOLDERS, "docs", "configs", "docker"):
        for file in sorted((root / top).rglob("*")):
            if file.suffix in _PROSE and file.name != own and "__pycache__" not in file.parts:
                yield file
    yield from (root / name for name in ("README.md", "CONTRIBUTING.md", "pyproject.toml"))


def _python_files(root: Path, tops: tuple[str, ...]) -> Iterator[Path]:
    for top in tops:
        yield from sorted((root / top).rglob("*.py"))


def main(root: Path) -> None:
    """Print the measures of a checkout."""
    for folder, count in modules_by_folder(root).most_common(5):
        print(f"{count:4} modules in {folder}")
    for name, layers in layers_of_contracts(root).items():
        print(f"{layers:4} layers: {name}")
    for title, pattern in (("indefinite actors", INDEFINITE), ("metaphors", FORBIDDEN_WORDS)):
        found = words_in(root, pattern)
        print(f"{sum(map(len, found.values())):4} {title}")
        for file, matches in sorted(found.items(), key=lambda item: -len(item[1]))[:12]:
            print(f"     {len(matches):4} {file}")
    for package in ("worker/sentq_worker", "producer/sentq"):
        print(f"{any_per_1000_lines(root / package):6.1f} Any per 1,000 lines of {package}")
    shared = {name: files for name, files in class_names(root).items() if len(files) > 1}
    print(f"{len(shared):4} names of classes that stand for two: {', '.join(sorted(shared))}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else ROOT)
