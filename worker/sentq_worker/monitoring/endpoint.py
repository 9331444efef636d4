"""The port of a worker: `/metrics`, `/livez`, `/readyz`. A worker of a group has no port of its
own: its parent asks it for these pages."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from sentq.errors import SettingsError
from sentq.serving import Page, PageServer
from sentq_worker.monitoring.job_counts import JobCounts
from sentq_worker.monitoring.probes import live_page, ready_page
from sentq_worker.monitoring.reading import EngineReading, Vitals

__all__ = ["MonitoringEndpoint", "PageLink"]

logger = logging.getLogger(__name__)

_NO_LIBRARY: Final = 'metrics_port needs the client of Prometheus: pip install "sentq[metrics]"'


class PageLink(Protocol):
    """The connection to the parent of a worker."""

    def serve(self, pages: Mapping[str, Callable[[], Page]]) -> None:
        """Answer with these pages from now on, in a thread of its own."""


class MonitoringEndpoint:
    """Serves a worker's metrics and probes, if it has a port.

    It has threads of its own, so it answers while the event loop stands still, or a model loads.

    Args:
        host: The address to listen on.
        port: The port; None serves nothing.
        counts: What the worker has counted of its jobs.
        link: Answers in place of the port, which is that of the parent; None without a parent.
    """

    def __init__(
        self, host: str, port: int | None, counts: JobCounts, link: PageLink | None = None
    ) -> None:
        self._host = host
        self._port = port
        self._counts = counts
        self._link = link
        self._server: PageServer | None = None

    def start(self, read: Callable[[], EngineReading], vitals: Callable[[], Vitals]) -> None:
        """Open the port.

        Args:
            read: Returns the state of the engine. Threads of the server call it.
            vitals: Returns what probes ask. Threads of the server call it.

        Raises:
            SettingsError: It is in use, or a package is missing.
        """
        if self._server is not None or (self._port is None and self._link is None):
            return
        pages = {
            "/livez": lambda: live_page(vitals()),
            "/readyz": lambda: ready_page(vitals()),
        }
        if self._port is not None:
            pages["/metrics"] = self._metrics(read)
        if self._link is not None:
            self._link.serve(pages)
            return
        self._server = PageServer(self._host, self._port or 0, pages)
        self._server.start()
        logger.info("metrics and probes: %s", self._server.url)

    def stop(self) -> None:
        """Close the port: the worker's series end with it."""
        if self._server is not None:
            self._server.stop()
            self._server = None

    def _metrics(self, read: Callable[[], EngineReading]) -> Callable[[], Page]:
        try:
            # A worker without a port does without the library.
            from prometheus_client import CollectorRegistry, generate_latest
            from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

            from sentq_worker.monitoring.collector import WorkerCollector
        except ImportError as error:
            raise SettingsError(_NO_LIBRARY) from error

        registry = CollectorRegistry()
        registry.register(WorkerCollector(self._counts, read))
        return lambda: Page(generate_latest(registry), CONTENT_TYPE_PLAIN_0_0_4)
