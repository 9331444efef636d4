"""The files in configs/observability: rules, configurations and the dashboard."""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.missing import on_path
from tests.support.monitoring.metrics_page import documented_metrics
from tests.support.monitoring.observability import (
    CONFIGS,
    DASHBOARD,
    RULE_FILES,
    SHORT,
    alerts,
    expressions,
    metrics_in,
    recorded,
    series_in,
    write_short_rules,
)

DOCS = CONFIGS.parents[1] / "docs"
RUNBOOK = "docs/observability.md"

#: The alerts that the service must have.
WANTED = {
    "SentqBreakerOpen",
    "SentqBreakerStopped",
    "SentqDeadLettersGrowing",
    "SentqDeadWebhooksGrowing",
    "SentqDrainTimeRising",
    "SentqDrift",
    "SentqExporterDown",
    "SentqHubBudgetNearEnd",
    "SentqNoWorker",
    "SentqOldestJob",
    "SentqProcessGivenUp",
    "SentqRedeliveries",
    "SentqRedisDown",
    "SentqRedisMemory",
    "SentqRollFailed",
    "SentqWorkerAnswersNothing",
    "SentqWorkerDown",
    "SentqWorkersDiffer",
}


def _run(program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [on_path(program), *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def _complaints(program: str, *arguments: str | Path) -> str:
    done = _run(program, *arguments)
    return "" if done.returncode == 0 else done.stdout + done.stderr


# --- Rules ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_promtool_accepts_the_configuration_and_the_rules() -> None:
    assert _complaints("promtool", "check", "config", CONFIGS / "prometheus.yml") == ""
    assert _complaints("promtool", "check", "rules", "--lint-fatal", *RULE_FILES) == ""


@pytest.mark.parametrize(
    "name",
    ["rules_test", "rules_zero_test", pytest.param("rules_drift_test", marks=pytest.mark.slow)],
)
def test_the_rules_pass_their_tests(name: str) -> None:
    assert _complaints("promtool", "test", "rules", CONFIGS / f"{name}.yml") == ""


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of the rules and their tests."""
    (tmp_path / "rules").mkdir()
    for file in (*RULE_FILES, CONFIGS / "rules_test.yml"):
        (tmp_path / file.relative_to(CONFIGS)).write_text(file.read_text())
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("expression", ["vector(1)", "vector(1) > 1"], ids=["always", "never"])
def test_the_tests_of_rules_notice_each_alert_that_always_or_never_fires(
    copied: Path, expression: str
) -> None:
    file = copied / "rules" / "alerts.yml"
    content = yaml.safe_load(file.read_text())
    for rule in content["groups"][0]["rules"]:
        rule["expr"] = expression
    file.write_text(yaml.safe_dump(content))
    complaints = _complaints("promtool", "test", "rules", copied / "rules_test.yml")
    assert {name for name in WANTED if f'alertname="{name}"' in complaints} == WANTED


def test_each_alert_says_what_to_do() -> None:
    page = (DOCS / "observability.md").read_text()
    assert set(alerts()) == WANTED
    for name, rule in alerts().items():
        assert rule["labels"]["severity"] in {"critical", "warning"}, name
        notes = rule["annotations"]
        assert set(notes) == {"summary", "description", "runbook"}, name
        assert notes["runbook"] == f"{RUNBOOK}#{name.lower()}"
        assert f"\n### {name}\n" in page
    headings = set(re.findall(r"^### (Sentq\w+)$", page, flags=re.MULTILINE))
    assert headings == WANTED


def test_rules_and_dashboard_use_metrics_and_series_that_exist() -> None:
    kinds = {name: kind for name, (kind, _) in documented_metrics().items()}
    suffixes = {"histogram": ("_bucket", "_sum", "_count"), "summary": ("_sum", "_count")}
    existing = {
        f"{name}{suffix}" for name, kind in kinds.items() for suffix in suffixes.get(kind, ("",))
    }
    used: set[str] = set()
    for name, expression in expressions().items():
        assert metrics_in(expression) <= existing, name
        assert series_in(expression) <= recorded(), name
        used |= metrics_in(expression)
    # What no alert and no panel shows.
    assert existing - used == {
        "sentq_job_queue_seconds_sum",
        "sentq_job_queue_seconds_count",
        "sentq_process_restarts_total",
    } | {
        f"sentq_{name}_{suffix}"
        for name in ("job_seconds", "batch_seconds", "prediction_score")
        for suffix in ("sum", "count")
    }


def test_each_label_in_an_expression_is_one_of_its_metric() -> None:
    labels = {
        name: named | {"job", "instance"} for name, (_, named) in documented_metrics().items()
    }
    for name, expression in expressions().items():
        for metric, matchers in re.findall(r"\b(sentq_\w+)\{([^}]*)\}", expression):
            family = re.sub(r"_(bucket|sum|count)$", "", metric)
            used = set(re.findall(r"(\w+)\s*[=!]", matchers))
            assert used <= labels[family], (name, metric)


def test_a_short_copy_of_the_rules_has_the_same_rules(tmp_path: Path) -> None:
    write_short_rules(tmp_path, {"sentq": 15, "sentq.bulk": 16, "drain": 17})
    for file in RULE_FILES:
        text = (tmp_path / file.name).read_text()
        short = yaml.safe_load(text)
        assert [rule.get("alert") or rule["record"] for rule in short["groups"][0]["rules"]] == [
            rule.get("alert") or rule["record"]
            for rule in yaml.safe_load(file.read_text())["groups"][0]["rules"]
        ]
        assert not re.search(r"\[\d+m\]|for: \d+m", text)
        if file.stem == "targets":
            assert re.findall(r"vector\((\d+)\)", text) == ["15", "16", "17", "1"]
    seconds = [int(short.removesuffix("s")) for short in SHORT.values()]
    assert all(one < other for one, other in pairwise(seconds)), "in the order of the originals"


# --- Alertmanager --------------------------------------------------------------------------


def test_alertmanager_accepts_its_example(tmp_path: Path) -> None:
    example = CONFIGS / "alertmanager.yml"
    assert _complaints("amtool", "check-config", example) == ""
    text, receivers, ways = example.read_text().partition("receivers:\n")
    everything = text + receivers + re.sub(r"^    # ?", "    ", ways, flags=re.MULTILINE)
    assert len(yaml.safe_load(everything)["receivers"][1]) == 3, "a name, and two ways to send"
    (tmp_path / "all.yml").write_text(everything)
    assert _complaints("amtool", "check-config", tmp_path / "all.yml") == ""


@pytest.mark.parametrize(
    ("severity", "receiver"), [("critical", "on-call"), ("warning", "channel")]
)
def test_alertmanager_routes_by_severity(severity: str, receiver: str) -> None:
    example = CONFIGS / "alertmanager.yml"
    options = ("config", "routes", "test", "--config.file", example)
    assert _run("amtool", *options, f"severity={severity}").stdout.strip() == receiver


def test_alertmanager_inhibits_alerts_that_exist() -> None:
    rules = yaml.safe_load((CONFIGS / "alertmanager.yml").read_text())["inhibit_rules"]
    for rule in rules:
        named = re.findall(r"Sentq\w+", " ".join(rule["source_matchers"] + rule["target_matchers"]))
        assert set(named) <= WANTED


# --- The dashboard -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dashboard() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return content


def _with_key(content: object, key: str) -> Iterator[Any]:
    """Yield what stands under a key, at any depth."""
    if isinstance(content, dict):
        for name, value in content.items():
            if name == key:
                yield value
            yield from _with_key(value, key)
    elif isinstance(content, list):
        for value in content:
            yield from _with_key(value, key)


def test_the_dashboard_asks_the_data_source_that_is_chosen(dashboard: dict[str, Any]) -> None:
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    sources = list(_with_key(dashboard, "datasource"))
    assert sources == [chosen] * len(sources)
    variables = {one["name"]: one for one in dashboard["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert variables["datasource"]["query"] == "prometheus"
    used = set(re.findall(r"\$\{?(\w+)", DASHBOARD.read_text()))
    assert used <= set(variables) | {"__rate_interval", "__all"}


def test_the_panels_have_names_explanations_and_places_of_their_own(
    dashboard: dict[str, Any],
) -> None:
    everything = dashboard["panels"]
    assert len({panel["id"] for panel in everything}) == len(everything)
    assert len({panel["title"] for panel in everything}) == len(everything)
    cells = Counter(
        (x, y)
        for place in (panel["gridPos"] for panel in everything)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    )
    assert max(cells.values()) == 1, "two panels overlap"
    assert max(x for x, _ in cells) == 23, "the width of Grafana's grid"
    assert "id" not in dashboard, "Grafana gives an imported dashboard an id"
    for panel in everything:
        if panel["type"] != "row":
            assert panel["description"].endswith("."), panel["title"]
            assert panel["targets"], panel["title"]
            letters = [target["refId"] for target in panel["targets"]]
            assert len(set(letters)) == len(letters), panel["title"]
