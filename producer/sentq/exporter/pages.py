"""The pages of the exporter: `/metrics`, `/v1/scale`, `/livez`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Final

import orjson

from sentq.errors import BrokerUnavailable, SettingsError
from sentq.exporter.reading import ServiceReader
from sentq.serving import JSON, Page

__all__ = ["make_pages"]

_NO_LIBRARY: Final = 'the exporter needs the client of Prometheus: pip install "sentq[metrics]"'


def make_pages(reader: ServiceReader) -> Mapping[str, Callable[[], Page]]:
    """Return what makes each page.

    Raises:
        SettingsError: A package is missing.
    """
    return {
        "/metrics": _metrics(reader),
        "/v1/scale": lambda: _scale(reader),
        "/livez": lambda: Page(b"live\n"),
    }


def _metrics(reader: ServiceReader) -> Callable[[], Page]:
    try:
        from prometheus_client import CollectorRegistry, generate_latest
        from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

        from sentq.exporter.collector import ServiceCollector
    except ImportError as error:
        raise SettingsError(_NO_LIBRARY) from error

    registry = CollectorRegistry()
    registry.register(ServiceCollector(reader.read))
    return lambda: Page(generate_latest(registry), CONTENT_TYPE_PLAIN_0_0_4)


def _scale(reader: ServiceReader) -> Page:
    try:
        body = reader.read().status.scale().model_dump_json()
    except BrokerUnavailable as error:
        body = orjson.dumps({"error": str(error)}).decode()
        return Page(f"{body}\n".encode(), JSON, HTTPStatus.SERVICE_UNAVAILABLE)
    return Page(f"{body}\n".encode(), JSON)
