"""One process of a group, as its parent sees it: from its start to its end."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum

from sentq_worker.group.link import ChildLink
from sentq_worker.group.plan import ChildPlan
from sentq_worker.group.restarts import RestartPolicy

__all__ = ["Child", "ChildState", "RunningChild"]

logger = logging.getLogger(__name__)


class ChildState(StrEnum):
    """The state of a process of a group."""

    #: It imports, loads its model, or connects.
    STARTING = "starting"
    READY = "ready"
    #: It was ready, and takes no jobs at the moment.
    UNREADY = "unready"
    #: It has ended, and is started again after a delay.
    WAITING = "waiting"
    #: It has ended, and is not started again.
    GIVEN_UP = "given_up"


class RunningChild:
    """A process that runs.

    Args:
        plan: Its device and cores.
        command: What to run, without the options of a child.
        environment: All variables of the process.
    """

    def __init__(
        self, plan: ChildPlan, command: Sequence[str], environment: Mapping[str, str]
    ) -> None:
        self.link = ChildLink()
        self.started_at = time.monotonic()
        #: Whether it takes jobs, whether it ever has, and why it does not.
        self.is_ready = self.was_ready = False
        self.problem = "the worker starts"
        #: Whether it has answered the parent: its handlers of signals are there.
        self.has_answered = False
        self._silences = 0
        fd = self.link.childs_fd
        try:
            with _on_cores(plan.cores):
                self.process = subprocess.Popen(
                    [*command, "--parent-fd", str(fd)],
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    pass_fds=(fd,),
                    process_group=0,  # Ctrl-C reaches the parent alone.
                )
        except OSError:
            self.link.close()
            raise
        self.link.close_childs()

    @property
    def ran_s(self) -> float:
        """For how many seconds it has run."""
        return time.monotonic() - self.started_at

    def note(self, said: str, *, is_ready: bool) -> None:
        """It has answered the parent.

        Args:
            said: Why it takes no jobs.
            is_ready: Whether it takes some.
        """
        self.has_answered, self._silences = True, 0
        self.is_ready, self.problem = is_ready, "; ".join(said.splitlines())
        self.was_ready |= is_ready

    def note_silence(self) -> int:
        """It has not answered the parent. Return how often in a row; 0 before its first answer."""
        if self.has_answered:
            self._silences += 1
            self.is_ready, self.problem = False, "it does not answer"
        return self._silences

    def end(self, number: signal.Signals, *, times: int) -> None:
        """Tell it that the parent has received a signal for the so-many-th time."""
        self.link.end(number, times=times)

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        self.process.kill()


class Child:
    """A place in a group, and the process that fills it.

    Args:
        plan: Its label, device and cores.
        policy: Says when a process that has ended is started again.
    """

    def __init__(self, plan: ChildPlan, policy: RestartPolicy) -> None:
        self.plan = plan
        self.policy = policy
        self.running: RunningChild | None = None
        #: When to start the next process, by `time.monotonic`; None if one runs, or it is given up.
        self.due_at: float | None = 0.0
        self.restarts = 0
        #: Whether any of its processes has taken jobs.
        self.was_ready = False

    @property
    def label(self) -> str:
        """Its name within the group."""
        return self.plan.label

    @property
    def is_given_up(self) -> bool:
        """Whether no process is started here any more."""
        return self.running is None and self.due_at is None

    @property
    def state(self) -> ChildState:
        """Its state now. Any thread may ask."""
        running = self.running
        if running is None:
            return ChildState.GIVEN_UP if self.due_at is None else ChildState.WAITING
        if running.is_ready:
            return ChildState.READY
        return ChildState.UNREADY if running.was_ready else ChildState.STARTING

    @property
    def problem(self) -> str:
        """Why it takes no jobs."""
        running = self.running
        if running is not None:
            return running.problem
        if self.due_at is None:
            return "it was given up"
        return "it has ended, and is started again soon"


@contextmanager
def _on_cores(cores: frozenset[int] | None) -> Iterator[None]:
    """Let this thread, and the process that it starts in the block, use these cores alone."""
    if cores is None:
        yield
        return
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, cores)
    except OSError as error:
        logger.warning("a process is not bound to the cores %s: %s", sorted(cores), error)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
