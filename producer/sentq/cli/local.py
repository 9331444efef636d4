"""`sentq dev` and `sentq demo`: Redis and a worker on this machine."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import Annotated, Final

import platformdirs
import typer

from sentq.cli.common import Exit, notes, say
from sentq.cli.demo import run_demo
from sentq.client import Client
from sentq.dev.fakehub import fake_hub, fake_hub_settings
from sentq.dev.gateway import local_gateway
from sentq.dev.stack import WorkerDidNotStart, local_stack

__all__ = ["DEMO_HELP", "DEV_HELP", "demo", "dev"]

DEV_HELP: Final = """Run a private Redis and a worker in this terminal, until Ctrl-C.

Jobs that are queued when it stops are kept for the next run.

\b
Examples:
  sentq dev
  sentq dev --gateway
  sentq dev --redis-server ~/bin/valkey-server
  SENTQ_WORKER_MODEL=./my-model sentq dev
  sentq dev --hub fake
  SENTQ_WORKER_PROVIDER=hub sentq dev --hub fake
"""


_GATEWAY_PORT: Final = 8200


class HubKind(StrEnum):
    """The Hub that a worker of `sentq dev` may use."""

    FAKE = "fake"


def dev(
    data: Annotated[
        Path | None,
        typer.Option(help="Folder for queued jobs (default: in your data folder).", metavar="DIR"),
    ] = None,
    redis_server: Annotated[
        Path | None,
        typer.Option(
            help="The Redis or Valkey to start (default: the first one found).", metavar="PROGRAM"
        ),
    ] = None,
    hub: Annotated[
        HubKind | None,
        typer.Option(help="Use a Hub on this machine as the fallback; it can simulate faults."),
    ] = None,
    gateway: Annotated[
        bool, typer.Option("--gateway", help="Serve sentq over HTTP, too (`sentq gateway`).")
    ] = False,
    gateway_port: Annotated[
        int,
        typer.Option(help="The port of the gateway; 0 chooses a free one.", min=0, max=65_535),
    ] = _GATEWAY_PORT,
) -> None:
    """See `DEV_HELP`."""
    # Redis works in this folder, where a relative path would lead elsewhere.
    folder = (data or platformdirs.user_data_path("sentq") / "dev").absolute()
    with _stoppable(), ExitStack() as running:
        environment: dict[str, str] = {}
        if hub is HubKind.FAKE:
            url = running.enter_context(fake_hub())
            environment = fake_hub_settings(url)
            say(f"the worker uses this Hub on this machine, as its provider setting says: {url}")
            say(f"set its answers to the next calls: curl -d '503 429:2 ok' {url}/script")
        stack = running.enter_context(
            local_stack(folder, redis_server=redis_server, environment=environment, say=say)
        )
        say("ready. In another terminal:")
        typer.echo(f"\nexport SENTQ_BROKER_URL='{stack.broker_url}'")
        typer.echo('sentq score "What a lovely day"\n')
        if gateway:
            address = running.enter_context(
                local_gateway(stack.settings, stack.folder, port=gateway_port)
            )
            typer.echo(
                f"curl -s {address}/v1/score -H 'Content-Type: application/json' "
                '-d \'{"texts": "What a lovely day"}\'\n'
            )
            say(f"the gateway is {address}, and open to this machine")
        say(f"the worker's log is {stack.worker_log}")
        say("Ctrl-C stops everything; queued jobs are kept")
        code = stack.worker.wait()
        raise WorkerDidNotStart(f"the worker ended with exit code {code}: see {stack.worker_log}")


DEMO_HELP: Final = """Score 200 reviews with a private Redis and a worker, and show how it is done.

Stops both at the end, and keeps no files.
"""


def demo(
    redis_server: Annotated[
        Path | None,
        typer.Option(
            help="The Redis or Valkey to start (default: the first one found).", metavar="PROGRAM"
        ),
    ] = None,
) -> None:
    """See `DEMO_HELP`."""
    with (
        _stoppable(),
        tempfile.TemporaryDirectory(prefix="sentq-demo-") as folder,
        local_stack(Path(folder), redis_server=redis_server, say=say) as stack,
        Client(stack.settings) as client,
    ):
        run_demo(client, notes=notes)


@contextmanager
def _stoppable() -> Iterator[None]:
    """End the block cleanly on Ctrl-C, SIGTERM and a closed terminal."""

    def stop(number: int, _: FrameType | None) -> None:
        # Only once: a further signal must not interrupt the cleanup.
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, signal.SIG_IGN)
        say("stopping")
        raise typer.Exit(Exit.OK if number == signal.SIGINT else 128 + number)

    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, stop)
    yield
