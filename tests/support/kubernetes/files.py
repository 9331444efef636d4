"""Where the chart and the manifests are."""

from __future__ import annotations

from pathlib import Path
from typing import Final

__all__ = ["CHART", "CONFIGS", "MANIFESTS"]

CONFIGS: Final = Path(__file__).parents[3] / "configs"
CHART: Final = CONFIGS / "helm" / "sentq"
MANIFESTS: Final = CONFIGS / "kubernetes"
