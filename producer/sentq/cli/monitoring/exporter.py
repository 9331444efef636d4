"""`sentq exporter`: metrics of the queues, and numbers for autoscalers, over HTTP."""

from __future__ import annotations

import logging
import signal
from types import FrameType
from typing import Annotated, Final, Literal

import typer

from sentq.cli.common import Broker, Config, say
from sentq.connection.app import make_app
from sentq.logs import log_service_as_json
from sentq.settings import Settings

__all__ = ["HELP", "exporter"]

logger = logging.getLogger(__name__)

HELP: Final = """Serve what Redis knows of the service, until SIGTERM or Ctrl-C.

\b
Pages:
  /metrics   for Prometheus: queues by priority, jobs in flight and scheduled, dead letters,
             workers, Redis' memory
  /v1/scale  JSON for autoscalers: backlog_jobs, ready_jobs, drain_s, oldest_s and others
  /livez     whether this process answers; Redis does not matter

It needs no torch, and one for a service is enough. Each worker serves its own metrics
(SENTQ_WORKER_METRICS_PORT). There is no login: keep the port in a network that only monitoring
reaches.

\b
Examples:
  sentq exporter
  sentq exporter --host 0.0.0.0 --port 9465 --log-format json
  curl -s http://127.0.0.1:9465/v1/scale | jq .ready_jobs

\b
Exit codes:
  0  ended by SIGTERM or Ctrl-C
  2  a wrong option or setting, the port is in use, or a package is missing
"""

_DEFAULT_PORT: Final = 9465


def exporter(
    port: Annotated[
        int, typer.Option(help="The port; 0 chooses a free one.", min=0, max=65_535)
    ] = (_DEFAULT_PORT),
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    log_format: Annotated[
        Literal["text", "json"] | None,
        typer.Option(help="How to log: text, or json (default: SENTQ_LOG_FORMAT)."),
    ] = None,
    broker_url: Broker = None,
    config: Config = None,
) -> None:
    """See `HELP`."""
    # Other commands do without a server.
    from sentq.exporter.pages import make_pages
    from sentq.exporter.reading import ServiceReader
    from sentq.serving import PageServer

    settings = Settings.load(config, broker_url=broker_url, log_format=log_format)
    if settings.log_format == "json":
        log_service_as_json()
    pages = make_pages(ServiceReader(make_app(settings), settings))
    server = PageServer(host, port, pages)
    signal.signal(signal.SIGTERM, _interrupt)
    if settings.log_format == "json":
        logger.info("metrics: %s/metrics", server.url)
    else:
        say(f"metrics: {server.url}/metrics")
    try:
        server.serve()
    except KeyboardInterrupt:
        pass
    finally:
        server.stop()


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
