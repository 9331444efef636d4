"""The tables of metrics in docs/metrics.md, as tests read them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

__all__ = ["METRICS_PAGE", "documented_metrics"]

METRICS_PAGE: Final = Path(__file__).parents[3] / "docs" / "metrics.md"

_ROW: Final = re.compile(r"^\| `(sentq_\w+)` \| (\w+) \|([^|]*)\|", re.MULTILINE)


def documented_metrics(heading: str | None = None) -> dict[str, tuple[str, set[str]]]:
    """Return the type and the labels of each metric that the page lists, by its name.

    Args:
        heading: The only section to read; None reads all of them.
    """
    text = METRICS_PAGE.read_text(encoding="utf-8")
    if heading is not None:
        text = text.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return {
        name: (kind, set(re.findall(r"`(\w+)`", labels)))
        for name, kind, labels in _ROW.findall(text)
    }
