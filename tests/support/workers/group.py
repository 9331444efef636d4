"""A group of stand-in workers, which start in a second: the parent of `sentq-worker`, and children
that score a text by its hash.

`python -m tests.support.workers.group` reads the settings of a worker. `GROUP_EXIT` is a status
with which children exit at once; `STANDIN_*` are those of the stand-in.
"""

from __future__ import annotations

import argparse
import os
import sys

from sentq.settings import Settings
from sentq_worker.app import make_worker_app
from sentq_worker.group.command import GroupOptions, run_group
from sentq_worker.group.devices import FoundDevices
from sentq_worker.group.link import ParentLink
from sentq_worker.settings import WorkerSettings, load_all
from tests.support.workers.standin import HashScorer


def _run_child(fd: int, name: str) -> int:
    if code := os.environ.get("GROUP_EXIT"):
        return int(code)
    link = ParentLink(fd)
    link.start()
    app = make_worker_app(*load_all(own={"name": name}), load=HashScorer, link=link)
    worker = app.Worker(loglevel="INFO", without_mingle=True, without_gossip=True, quiet=True)
    worker.start()
    return int(worker.exitcode or 0)


def main() -> int:
    """Run a child if a parent has started this process, and a parent otherwise."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--parent-fd", type=int)
    parser.add_argument("--name")
    options, _ = parser.parse_known_args()
    if options.parent_fd is not None:
        return _run_child(options.parent_fd, options.name)
    return run_group(
        WorkerSettings.load(),
        GroupOptions(
            log_format=Settings.load().log_format,
            command=(sys.executable, "-m", "tests.support.workers.group"),
            find_devices=FoundDevices,
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
