"""The command `sentq-worker`: run a worker, show its model, train and evaluate one."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from sentq.errors import SentqError
from sentq.files.postgresql.address import DatabaseUnavailable
from sentq.settings import CONFIG_VARIABLE, Settings
from sentq.version import describe_version
from sentq_worker import health as health_command
from sentq_worker import score as score_command
from sentq_worker.celery_worker.shutdown import exit_at_sigterm
from sentq_worker.engine.base import EngineError
from sentq_worker.evaluate.command import evaluate
from sentq_worker.exit_codes import EX_CONFIG, EX_UNAVAILABLE, EX_USAGE
from sentq_worker.garbage import without_garbage_collection
from sentq_worker.group.command import GroupOptions, run_group
from sentq_worker.group.link import ParentLink
from sentq_worker.group.plan import is_group
from sentq_worker.inference.model_files import find_model
from sentq_worker.settings import WorkerSettings, load_all
from sentq_worker.training.command import train

__all__ = ["app", "main"]

_HELP = """Take jobs from the queue and score them, until SIGTERM or Ctrl-C.

\b
Examples:
  sentq-worker
  sentq-worker --broker-url redis://queue:6379/0 --model ./my-model
  sentq-worker --model owner/name --revision 0a1b2c3 --device cuda
  sentq-worker --devices cuda:0,cuda:1
  sentq-worker --devices auto --processes auto
  sentq-worker --processes 4
  sentq-worker --config /etc/sentq.toml --queues sentq.bulk
  sentq-worker --log-format json --loglevel debug
  SENTQ_WORKER_PROVIDER=hub SENTQ_WORKER_HUB_MODEL=owner/name sentq-worker
  sentq-worker model
  sentq-worker health
  sentq-worker train reviews.jsonl --base ./minilm --out ./my-model
  sentq-worker evaluate held-out.jsonl --model ./my-model
  sentq-worker score reviews.csv --out scored.csv

\b
Exit codes:
  0   ended by SIGTERM
  1   ended by Ctrl-C
  2   a wrong option or setting
  69  the device was lost, and the jobs in flight went back to the queue;
      or Redis did not answer, within SENTQ_WORKER_START_WAIT_S or at the end
  70  the engine made no progress for SENTQ_WORKER_BATCH_LIMIT_S
  78  the model cannot be loaded, the device is not available, another worker has another
      model (SENTQ_WORKER_REQUIRE_SAME_MODEL), or RabbitMQ refuses to declare a queue
  130, 143  a second Ctrl-C or SIGTERM: the jobs in flight went back to the queue
With several processes also the code of one that was given up (SENTQ_WORKER_RESTART_LIMIT), such
as 137 if the system killed it again and again.
"""

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("train")(train)
app.command("evaluate")(evaluate)
app.command("score", help=score_command.HELP)(score_command.score)


@app.command(
    "health",
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def health(context: typer.Context) -> None:
    """Ask the worker of this container whether it lives, for health checks."""
    raise typer.Exit(health_command.main(context.args))


_notes = Console(stderr=True, highlight=False)


def main() -> None:
    """Run the command; every expected error ends in one line and an exit code."""
    try:
        app()
    except SentqError as error:
        _notes.print(f"sentq-worker: {error}", style="red", markup=False, soft_wrap=True)
        match error:
            case EngineError():
                sys.exit(EX_CONFIG)
            case DatabaseUnavailable():
                sys.exit(EX_UNAVAILABLE)
            case _:
                sys.exit(EX_USAGE)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sentq-worker {describe_version()}")
        typer.echo(f"bundled model: {_bundled_model()}")
        raise typer.Exit


def _bundled_model() -> str:
    try:
        files = find_model(None)
    except EngineError:
        return "not installed"
    return f"{files.name} {files.revision}"


class LogLevel(StrEnum):
    """The least severe messages that are logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """How log lines are written."""

    TEXT = "text"
    JSON = "json"


Config = Annotated[
    Path | None,
    typer.Option(
        help="TOML file with settings (default: the file in SENTQ_CONFIG).", metavar="FILE"
    ),
]
Model = Annotated[
    str | None,
    typer.Option(help="Folder or Hub id (default: the bundled model).", metavar="MODEL"),
]
Revision = Annotated[
    str | None, typer.Option(help="Branch, tag or commit of a Hub model.", metavar="REVISION")
]
Device = Annotated[
    str | None, typer.Option(help="auto, cpu, mps, cuda or cuda:N.", metavar="DEVICE")
]


@app.callback(invoke_without_command=True, help=_HELP)
def run(
    context: typer.Context,
    model: Model = None,
    revision: Revision = None,
    device: Device = None,
    threads: Annotated[
        int | None, typer.Option(help="CPU threads of the engine (default: one a core).")
    ] = None,
    devices: Annotated[
        str | None,
        typer.Option(
            help="One process for each of these devices: cuda:0,cuda:1, cuda for all, or auto.",
            metavar="DEVICES",
        ),
    ] = None,
    processes: Annotated[
        str | None,
        typer.Option(
            help="Processes for each device, on a CPU each with cores of its own: a number, or "
            "auto.",
            metavar="N",
        ),
    ] = None,
    queues: Annotated[
        str | None,
        typer.Option(help="Queues to consume, separated by commas (default: both of sentq's)."),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            help="Name of this worker, such as gpu0@%h (default: one with the process id). "
            "Several processes add their device to it.",
            metavar="NAME",
        ),
    ] = None,
    events: Annotated[bool, typer.Option("--events", "-E", help="Send events (Flower).")] = False,
    loglevel: Annotated[
        LogLevel, typer.Option(help="The least severe messages to log.")
    ] = LogLevel.INFO,
    log_format: Annotated[
        LogFormat | None,
        typer.Option(help="How to log: text, or json (default: SENTQ_LOG_FORMAT)."),
    ] = None,
    broker_url: Annotated[
        str | None,
        typer.Option(help="URL of the broker (default: SENTQ_BROKER_URL).", metavar="URL"),
    ] = None,
    config: Config = None,
    parent_fd: Annotated[int | None, typer.Option(hidden=True)] = None,
    version: Annotated[  # noqa: ARG001 - handled by its callback
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    if context.invoked_subcommand is not None:
        return
    exit_at_sigterm()
    link = None if parent_fd is None else ParentLink(parent_fd)
    if link is not None:
        link.start()
    own = {
        "model": model,
        "revision": revision,
        "device": device,
        "threads": threads,
        "devices": devices,
        "processes": processes,
        "name": name,
    }
    shared = {"broker_url": broker_url, "log_format": log_format}
    settings = load_all(config, shared=shared, own=own)
    if link is None and is_group(settings[1]):
        options = GroupOptions(
            arguments=[
                *(["--queues", queues] if queues else []),
                *(["--events"] if events else []),
                *("--loglevel", loglevel),
            ],
            variables=_variables(config, shared, {"model": model, "revision": revision}),
            loglevel=loglevel.upper(),
            log_format=settings[0].log_format,
        )
        raise typer.Exit(run_group(settings[1], options))
    with without_garbage_collection():
        from sentq_worker.app import make_worker_app

    celery = make_worker_app(*settings, link=link)
    worker = celery.Worker(
        queues=queues,
        loglevel=loglevel.upper(),
        task_events=events,
        without_mingle=True,
        without_gossip=True,
        quiet=link is not None,
    )
    worker.start()
    raise typer.Exit(worker.exitcode or 0)


def _variables(
    config: Path | None, shared: Mapping[str, str | None], own: Mapping[str, str | None]
) -> dict[str, str]:
    """Return the variables with which another process reads the same settings."""
    given = {Settings.variable(key): value for key, value in shared.items()}
    given |= {WorkerSettings.variable(key): value for key, value in own.items()}
    given[CONFIG_VARIABLE] = None if config is None else str(config)
    return {name: value for name, value in given.items() if value is not None}


_MODEL_HELP = """Show the model that a worker would use: its folder, its facts, its card.

\b
Examples:
  sentq-worker model
  sentq-worker model --path
  sentq-worker model --model owner/name --revision main
"""


@app.command("model", help=_MODEL_HELP)
def show_model(
    path: Annotated[bool, typer.Option("--path", help="Print only the folder.")] = False,
    model: Model = None,
    revision: Revision = None,
    device: Device = None,
    config: Config = None,
) -> None:
    settings = WorkerSettings.load(config, model=model, revision=revision, device=device)
    files = find_model(settings.model, settings.revision)
    if path:
        typer.echo(files.folder)
        return
    from sentq_worker.inference.model import LocalEngine
    from sentq_worker.inference.model_config import stated_languages
    from sentq_worker.scoring.labels import Labels

    engine = LocalEngine(
        files, device=settings.device, dtype=settings.dtype, threads=settings.threads
    )
    labels = Labels(engine.info.labels)
    languages = settings.languages or stated_languages(files.folder) or ("not stated",)
    rows: dict[str, object] = {
        "model": files.name,
        "folder": files.folder,
        "revision": files.revision,
        "labels": ", ".join(labels.names),
        "languages": ", ".join(languages),
        "window": f"{engine.window_tokens} tokens",
        "device": engine.info.backend.removeprefix("local:"),
        "dtype": engine.info.dtype,
    }
    for key, value in rows.items():
        typer.echo(f"{key:<11}{value}")
    card = files.folder / "README.md"
    if card.is_file():
        typer.echo("\n" + _body(card.read_text(encoding="utf-8")))


def _body(card: str) -> str:
    """Return a model card without the metadata block that the Hub reads."""
    if card.startswith("---\n"):
        _, _, card = card.removeprefix("---\n").partition("\n---\n")
    return card.strip()
