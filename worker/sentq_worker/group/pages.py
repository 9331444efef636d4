"""The metrics and probes of a group, on one port.

The metrics of all processes are on one page: each series has the label `process`. They end with
their process, and begin at 0 in the next one, as counters of a restarted worker do.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Final

from sentq.serving import TEXT, Page
from sentq_worker.group.child import Child, ChildState, RunningChild

__all__ = ["GroupPages", "answers", "merged"]

_METRICS: Final = "text/plain; version=0.0.4; charset=utf-8"

#: How long all children together may take to answer.
_ANSWER_S: Final = 2.0


class GroupPages:
    """Makes the pages of a group. The threads of the server call them.

    Args:
        children: All processes.
        asking: Held while the children are asked.
    """

    def __init__(self, children: Sequence[Child], asking: threading.Lock) -> None:
        self._children = children
        self._asking = asking
        self._is_ending = False

    def by_path(self) -> dict[str, Callable[[], Page]]:
        """Return what makes each page."""
        return {"/metrics": self.metrics, "/livez": self.live, "/readyz": self.ready}

    def end(self) -> None:
        """The group takes no more jobs."""
        self._is_ending = True

    def metrics(self) -> Page:
        """Return the metrics of all processes that answer, and those of the group."""
        running = {each.label: each.running for each in self._children if each.running}
        with self._asking:
            pages = answers(running, "/metrics")
        texts = {
            label: page.body.decode()
            for label, page in pages.items()
            if page is not None and page.status == HTTPStatus.OK
        }
        return Page((merged(texts) + self._own_metrics()).encode(), _METRICS)

    def live(self) -> Page:
        """Return the answer to `/livez`: the parent lives, and restarts processes that do not."""
        return Page(f"live: {self._summary()}\n".encode())

    def ready(self) -> Page:
        """Return the answer to `/readyz`: at first all processes must take jobs, later any."""
        ready = [each for each in self._children if each.state is ChildState.READY]
        lines = [f"{self._summary()}\n"] + [
            f"{each.label}: {each.problem}\n" for each in self._children if each not in ready
        ]
        if self._is_ending:
            lines, ready = ["the worker ends\n"], []
        is_ready = bool(ready) and all(each.was_ready for each in self._children)
        status = HTTPStatus.OK if is_ready else HTTPStatus.SERVICE_UNAVAILABLE
        return Page(("ready: " * is_ready + "".join(lines)).encode(), TEXT, status)

    def _summary(self) -> str:
        ready = sum(each.state is ChildState.READY for each in self._children)
        return f"{ready} of {len(self._children)} processes are ready"

    def _own_metrics(self) -> str:
        lines = [
            "# HELP sentq_processes Processes of this group by their state.",
            "# TYPE sentq_processes gauge",
        ]
        states = [each.state for each in self._children]
        lines += [
            f'sentq_processes{{state="{state}"}} {states.count(state)}' for state in ChildState
        ]
        lines += [
            "# HELP sentq_process_restarts_total How often a process was started again.",
            "# TYPE sentq_process_restarts_total counter",
        ]
        lines += [
            f'sentq_process_restarts_total{{process="{each.label}"}} {each.restarts}'
            for each in self._children
        ]
        return "\n".join(lines) + "\n"


def answers(children: Mapping[str, RunningChild], path: str) -> dict[str, Page | None]:
    """Ask all children for a page at once, and return what each answers in time.

    No other thread may ask at the same time. A child that is gone gives no answer.
    """
    for child in children.values():
        child.link.ask(path)
    until = time.monotonic() + _ANSWER_S
    return {label: child.link.answer(until=until) for label, child in children.items()}


def merged(pages: Mapping[str, str]) -> str:
    """Return the metrics of several processes as one page in Prometheus' text format.

    Args:
        pages: The page of each process by its label, as the client of Prometheus writes it: the
            series of a metric follow its comments.
    """
    families: dict[str, list[str]] = {}
    for label, page in pages.items():
        family: list[str] = []
        for line in page.splitlines():
            if line.startswith("# HELP "):
                family = families.setdefault(line.split(" ", 3)[2], [line])
            elif line.startswith("# TYPE "):
                if line not in family:
                    family.append(line)
            elif line:
                family.append(_labelled(line, label))
    return "".join(f"{line}\n" for family in families.values() for line in family)


def _labelled(sample: str, process: str) -> str:
    """Return a sample with the label of its process as the first one."""
    name, brace, rest = sample.partition("{")
    if brace:
        return f'{name}{{process="{process}",{rest}'
    name, _, value = sample.partition(" ")
    return f'{name}{{process="{process}"}} {value}'
