"""Scrapes of metrics, and answers of probes."""

from __future__ import annotations

import http.client
import subprocess
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from tests.support.missing import on_path

__all__ = ["Answer", "Scrape", "get", "promtool_complaints", "scrape"]

_TIMEOUT_S: Final = 10


@dataclass(frozen=True, slots=True)
class Answer:
    """What a page answered. The status is 0 if there was no answer."""

    status: int
    body: str


@dataclass(frozen=True, slots=True)
class Scrape:
    """The samples of one scrape."""

    text: str
    samples: dict[tuple[str, frozenset[tuple[str, str]]], float]

    def value(self, sample: str, **labels: str) -> float:
        """Return the sample of exactly these labels; a `KeyError` says that it does not exist."""
        return self.samples[sample, frozenset(labels.items())]

    def series(self, sample: str) -> dict[tuple[str, ...], float]:
        """Return all samples of a name, by the values of their labels in the order of names."""
        return {
            tuple(value for _, value in sorted(labels)): number
            for (name, labels), number in self.samples.items()
            if name == sample
        }

    @property
    def names(self) -> set[str]:
        """The names of all samples."""
        return {name for name, _ in self.samples}


def get(url: str, *, timeout_s: float = _TIMEOUT_S) -> Answer:
    """Return the answer of a page. An answer that is cut off counts as none."""
    try:
        with _reply(url, timeout_s) as reply:
            return Answer(reply.status or 0, reply.read().decode())
    except (http.client.HTTPException, OSError) as error:
        return Answer(0, str(error))


def _reply(url: str, timeout_s: float) -> http.client.HTTPResponse | urllib.error.HTTPError:
    try:
        reply: http.client.HTTPResponse = urllib.request.urlopen(url, timeout=timeout_s)  # noqa: S310
    except urllib.error.HTTPError as error:
        return error
    return reply


def scrape(url: str) -> Scrape:
    """Scrape `/metrics` of a server. No series may appear twice."""
    answer = get(f"{url}/metrics")
    assert answer.status == 200, answer
    samples: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    for family in text_string_to_metric_families(answer.body):
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in samples
            samples[key] = sample.value
    return Scrape(answer.body, samples)


def promtool_complaints(text: str) -> str:
    """Return what `promtool check metrics` says about a scrape; nothing if it is well."""
    done = subprocess.run(
        [on_path("promtool"), "check", "metrics"],
        input=text,
        text=True,
        capture_output=True,
        check=False,
        timeout=60,
    )
    return done.stdout + done.stderr
