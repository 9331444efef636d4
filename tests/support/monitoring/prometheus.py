"""A real Prometheus, as Debian packages it, that scrapes the workers and the exporter of a test."""

from __future__ import annotations

import json
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import yaml

from tests.support.logs import register_log
from tests.support.missing import on_path
from tests.support.monitoring.scrape import get
from tests.support.ports import free_port
from tests.support.processes import eventually

__all__ = ["PrometheusServer", "QueryFailed", "Series"]

_TIMEOUT_S: Final = 30

#: How often it scrapes, and evaluates rules, in seconds.
_INTERVAL_S: Final = 1


class QueryFailed(AssertionError):
    """Prometheus refuses an expression. The message says why."""


@dataclass(frozen=True, slots=True)
class Series:
    """A series in the answer to a query: its labels, and its values by Unix time in seconds."""

    labels: Mapping[str, str]
    values: tuple[tuple[float, float], ...]


class PrometheusServer:
    """Runs while its context is open, and scrapes each second what `scrape` names.

    Args:
        folder: An empty folder for its configuration and data.
        rules: The folder of its rules.
        alertmanager: The port of an Alertmanager on this machine; None without one.
    """

    def __init__(self, folder: Path, rules: Path, *, alertmanager: int | None = None) -> None:
        self._folder = folder
        self._program = on_path("prometheus")
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log_file = register_log(folder / "prometheus.log")
        self._process: subprocess.Popen[bytes] | None = None
        self.scrape()
        configuration: dict[str, Any] = {
            "global": {
                "scrape_interval": f"{_INTERVAL_S}s",
                "scrape_timeout": f"{_INTERVAL_S}s",
                "evaluation_interval": f"{_INTERVAL_S}s",
            },
            "rule_files": [str(rules / "*.yml")],
            "scrape_configs": [
                {
                    "job_name": name,
                    "file_sd_configs": [{"files": [str(self._targets(name))]}],
                }
                for name in ("sentq-worker", "sentq-exporter")
            ],
        }
        if alertmanager is not None:
            target = f"127.0.0.1:{alertmanager}"
            configuration["alerting"] = {
                "alertmanagers": [{"static_configs": [{"targets": [target]}]}]
            }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))

    def scrape(self, *, workers: Iterable[int] = (), exporter: int | None = None) -> None:
        """Scrape these ports of this machine from now on, and no others."""
        for name, ports in {
            "sentq-worker": list(workers),
            "sentq-exporter": [] if exporter is None else [exporter],
        }.items():
            targets = [{"targets": [f"127.0.0.1:{port}" for port in ports]}]
            written = self._targets(name).with_suffix(".new")
            written.write_text(json.dumps(targets))
            written.rename(self._targets(name))

    def await_targets(self) -> None:
        """Wait until it scrapes what `scrape` named last, and nothing else."""

        def is_so() -> bool:
            wanted = {
                target
                for name in ("sentq-worker", "sentq-exporter")
                for group in json.loads(self._targets(name).read_text())
                for target in group["targets"]
            }
            active = self._ask("targets")["activeTargets"]
            return wanted == {target["labels"]["instance"] for target in active}

        eventually(is_so, what="the targets")

    def __enter__(self) -> Self:
        with self._log_file.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    self._program,
                    f"--config.file={self._folder / 'prometheus.yml'}",
                    f"--storage.tsdb.path={self._folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{self.port}",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        eventually(self._is_ready, within_s=30, what="a Prometheus")
        assert self._process.poll() is None, self._log_file.read_text(errors="replace")
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)

    def query(self, expression: str) -> list[Series]:
        """Return the present value of each series of an expression.

        Raises:
            QueryFailed: The expression is wrong.
        """
        found = self._ask("query", query=expression)
        if found["resultType"] == "scalar":
            return [Series({}, (_sample(found["result"]),))]
        return [Series(one["metric"], (_sample(one["value"]),)) for one in found["result"]]

    def values(self, expression: str, *labels: str) -> dict[tuple[str, ...], float]:
        """Return the present values of an expression by the values of these labels.

        Raises:
            QueryFailed: The expression is wrong, or the labels do not tell its series apart.
        """
        found: dict[tuple[str, ...], float] = {}
        for series in self.query(expression):
            key = tuple(series.labels.get(label, "") for label in labels)
            if key in found:
                raise QueryFailed(f"{expression} has two series with {labels} {key}")
            found[key] = series.values[-1][1]
        return found

    def value(self, expression: str) -> float | None:
        """Return the present value of an expression with one series; None without a series."""
        return self.values(expression).get(())

    def query_range(
        self, expression: str, *, start_s: float, end_s: float, step_s: float
    ) -> list[Series]:
        """Return the values of each series of an expression in a period.

        Raises:
            QueryFailed: The expression is wrong.
        """
        found = self._ask("query_range", query=expression, start=start_s, end=end_s, step=step_s)
        return [
            Series(one["metric"], tuple(map(_sample, one["values"]))) for one in found["result"]
        ]

    def problems(self) -> list[str]:
        """Return the errors of rules as they were evaluated, and of templates in alerts."""
        groups = self._ask("rules")["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        errors = [f"{rule['name']}: {rule['lastError']}" for rule in rules if rule.get("lastError")]
        annotations = [
            f"{alert['labels']['alertname']}: {text}"
            for alert in self._ask("alerts")["alerts"]
            for text in alert["annotations"].values()
            if "error" in text.lower() and "template" in text.lower()
        ]
        return errors + annotations

    def _targets(self, name: str) -> Path:
        return self._folder / f"{name}.json"

    def _is_ready(self) -> bool:
        assert self._process is not None
        return self._process.poll() is not None or get(f"{self.url}/-/ready").status == 200

    def _ask(self, page: str, **parameters: object) -> Any:
        body = urllib.parse.urlencode(parameters).encode() or None
        request = urllib.request.Request(f"{self.url}/api/v1/{page}", data=body)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as reply:  # noqa: S310
                return json.load(reply)["data"]
        except urllib.error.HTTPError as error:
            raise QueryFailed(f"{parameters.get('query')}: {error.read().decode()}") from error


def _sample(pair: tuple[float, str]) -> tuple[float, float]:
    return float(pair[0]), float(pair[1])
