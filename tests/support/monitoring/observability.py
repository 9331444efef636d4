"""The rules and the dashboard of configs/observability, as tests read them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

__all__ = [
    "CONFIGS",
    "DASHBOARD",
    "RULE_FILES",
    "SHORT",
    "Panel",
    "alerts",
    "expressions",
    "metrics_in",
    "panels",
    "recorded",
    "series_in",
    "write_short_rules",
]

CONFIGS: Final = Path(__file__).parents[3] / "configs" / "observability"
DASHBOARD: Final = CONFIGS / "grafana" / "dashboards" / "sentq.json"
RULE_FILES: Final = sorted((CONFIGS / "rules").glob("*.yml"))

#: The durations of rules, as a test of minutes has them. A week has no place in it.
SHORT: Final = dict(
    zip(
        ("1m", "2m", "5m", "10m", "15m", "1h", "7d"),
        ("4s", "8s", "10s", "15s", "30s", "60s", "604800s"),
        strict=True,
    )
)

_TARGET: Final = re.compile(r"vector\((\d+)\)")


def _rules() -> Iterator[dict[str, Any]]:
    for file in RULE_FILES:
        for group in yaml.safe_load(file.read_text())["groups"]:
            yield from group["rules"]


def alerts() -> dict[str, dict[str, Any]]:
    """Return the rules of alerts by their names."""
    return {rule["alert"]: rule for rule in _rules() if "alert" in rule}


def recorded() -> set[str]:
    """Return the names of recorded series."""
    return {rule["record"] for rule in _rules() if "record" in rule}


def expressions() -> dict[str, str]:
    """Return each expression of rules and dashboard, by a name for messages of tests."""
    rules = {f"{rule.get('alert') or rule['record']}": rule["expr"] for rule in _rules()}
    board = {
        f"{panel.title} {letter}": expression
        for panel in panels()
        for letter, (expression, _) in zip("ABCDEF", panel.queries, strict=False)
    }
    return rules | board


def metrics_in(expression: str) -> set[str]:
    """Return the names of the metrics of workers and exporter in an expression."""
    return set(re.findall(r"\bsentq_\w+", expression))


def series_in(expression: str) -> set[str]:
    """Return the names of recorded series in an expression."""
    return set(re.findall(r"\bsentq:[\w:]+", expression))


@dataclass(frozen=True, slots=True)
class Panel:
    """A panel of the dashboard.

    Attributes:
        title: Its heading.
        kind: Grafana's name of its type.
        unit: Grafana's name of the unit of its values.
        is_stacked: Whether its series are drawn one above the other.
        names: The names that values have: "up" for 1, for instance.
        queries: Each expression, with the pattern of its legend.
    """

    title: str
    kind: str
    unit: str
    is_stacked: bool
    names: Mapping[str, str]
    queries: tuple[tuple[str, str], ...]


def panels(*, rate_interval: str = "1m") -> list[Panel]:
    """Return the panels with queries, as Grafana runs them for all workers.

    Args:
        rate_interval: What Grafana computes from the scrape interval for `$__rate_interval`.
    """
    return [
        _panel(panel, rate_interval)
        for panel in json.loads(DASHBOARD.read_text())["panels"]
        if panel["type"] != "row"
    ]


def _panel(panel: dict[str, Any], rate_interval: str) -> Panel:
    field = panel["fieldConfig"]["defaults"]
    queries = [
        (
            target["expr"].replace("$__rate_interval", rate_interval).replace("$instance", ".*"),
            target["legendFormat"],
        )
        for target in panel["targets"]
    ]
    names = {
        value: shown["text"]
        for mapping in field.get("mappings", ())
        for value, shown in mapping["options"].items()
    }
    stacking = field.get("custom", {}).get("stacking", {})
    return Panel(
        panel["title"],
        panel["type"],
        field.get("unit", ""),
        stacking.get("mode") == "normal",
        names,
        tuple(queries),
    )


def write_short_rules(folder: Path, targets_s: Mapping[str, int]) -> None:
    """Write the rules with other targets, and with the durations of `SHORT`.

    Args:
        folder: Where to.
        targets_s: The targets in seconds, by the queue, and `drain` for that of the drain time.

    Raises:
        KeyError: A rule has a duration that is not in `SHORT`.
    """
    for file in RULE_FILES:
        content = yaml.safe_load(file.read_text())
        for group in content["groups"]:
            group.pop("interval", None)  # That of the server is short.
        for rule in (rule for group in content["groups"] for rule in group["rules"]):
            if _TARGET.fullmatch(rule["expr"]) and "seconds" in rule["record"]:
                target_s = targets_s[rule.get("labels", {}).get("queue", "drain")]
                rule["expr"] = f"vector({target_s})"
            rule["expr"] = re.sub(r"\[(\w+)\]", lambda of: f"[{SHORT[of[1]]}]", rule["expr"])
            if "for" in rule:
                rule["for"] = SHORT[rule["for"]]
        (folder / file.name).write_text(yaml.safe_dump(content), encoding="utf-8")
