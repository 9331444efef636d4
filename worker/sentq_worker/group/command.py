"""The parent's part of `sentq-worker`: from settings and options to an exit code."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from sentq.errors import SettingsError
from sentq.logs import JsonFormatter, log_as_json, log_uncaught_errors
from sentq.serving import PageServer
from sentq_worker.exit_codes import EX_CONFIG
from sentq_worker.group.child import Child
from sentq_worker.group.cores import read_usable_cores
from sentq_worker.group.devices import FoundDevices, find_devices
from sentq_worker.group.monitor import GroupMonitor
from sentq_worker.group.pages import GroupPages
from sentq_worker.group.parent import GroupParent
from sentq_worker.group.plan import ChildPlan, plan_group
from sentq_worker.group.restarts import RestartPolicy
from sentq_worker.reports.names import worker_name
from sentq_worker.settings import WorkerSettings

__all__ = ["GroupOptions", "child_name", "run_group"]

logger = logging.getLogger(__name__)

#: As Celery's lines of a worker.
_LINE: Final = "[%(asctime)s: %(levelname)s/parent] %(message)s"

#: Without the folder in which the parent was started.
_COMMAND: Final = (sys.executable, "-P", "-m", "sentq_worker")


@dataclass(frozen=True, slots=True)
class GroupOptions:
    """What a parent passes on to its children, beside the settings that both read.

    Attributes:
        arguments: Options that are no settings, such as `--queues`.
        variables: Settings that options have given, as variables.
        loglevel: The least severe messages to log.
        log_format: `text` or `json`.
        command: What a child runs.
        find_devices: Returns the devices of this machine.
    """

    arguments: Sequence[str] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    loglevel: str = "INFO"
    log_format: str = "text"
    command: Sequence[str] = _COMMAND
    find_devices: Callable[[], FoundDevices] = find_devices


def run_group(settings: WorkerSettings, options: GroupOptions) -> int:
    """Run a parent and its children until they end, and return the exit code.

    Args:
        settings: The settings of the worker, with devices or processes.
        options: What the children are started with.

    Raises:
        DeviceUnavailable: The devices that the settings name are not there.
    """
    name = worker_name(settings.name)
    _set_up_log(options, name)
    plan = plan_group(
        settings,
        read_usable_cores(),
        options.find_devices,
        uses_local_model=settings.policies != {"hub"},
    )
    for note in plan.notes:
        logger.warning("%s", note)
    children = [Child(each, RestartPolicy(settings.restart_limit)) for each in plan.children]
    asking = threading.Lock()
    pages = GroupPages(children, asking)
    try:
        server = _serve(settings, pages)
    except SettingsError as error:
        logger.critical("%s", error)
        return EX_CONFIG
    monitor = GroupMonitor(children, asking)
    monitor.start()
    try:
        return GroupParent(
            children,
            lambda child: _program(child, name, options),
            grace_s=settings.shutdown_grace_s,
            on_end=pages.end,
        ).run()
    finally:
        monitor.stop()
        if server is not None:
            server.stop()


def child_name(name: str, label: str) -> str:
    """Return the name of a child, the same after each restart.

    Args:
        name: That of the group, such as `celery-4711@host`.
        label: That of the child within the group, such as `cuda0`.
    """
    node, at, host = name.partition("@")
    return f"{node}-{label}{at}{host}"


def _program(
    child: ChildPlan, name: str, options: GroupOptions
) -> tuple[Sequence[str], Mapping[str, str]]:
    command = [*options.command, *options.arguments]
    # A `%` stands for itself where a name is expanded.
    command += ["--name", child_name(name, child.label).replace("%", "%%")]
    command += ["--device", child.device]
    if child.threads is not None:
        command += ["--threads", str(child.threads)]
    # A comma is a list without devices.
    alone = {"SENTQ_WORKER_DEVICES": ",", "SENTQ_WORKER_PROCESSES": "1"}
    return command, {**options.variables, **alone}


def _serve(settings: WorkerSettings, pages: GroupPages) -> PageServer | None:
    """Open the port of metrics and probes, if there is one.

    Raises:
        SettingsError: It is in use.
    """
    if settings.metrics_port is None:
        return None
    server = PageServer(settings.metrics_host, settings.metrics_port, pages.by_path())
    server.start()
    logger.info("metrics and probes of all processes: %s", server.url)
    return server


def _set_up_log(options: GroupOptions, name: str) -> None:
    if options.log_format == "json":
        log_as_json(JsonFormatter(worker=lambda: name), level=options.loglevel)
        log_uncaught_errors()
    else:
        logging.basicConfig(level=options.loglevel, format=_LINE)
