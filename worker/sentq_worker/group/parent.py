"""The parent of a group: starts its children, restarts those that end, and ends with them.

A signal is passed on to all children, which then do what a single worker does: finish their batch
at the first one, requeue all jobs at the second, exit at the third. The parent exits after them.

A child that cannot start ends the group while the group starts. Later, a child that is given up
leaves the others alone: seven GPUs go on when the eighth is lost.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Final

from sentq_worker.exit_codes import EX_UNAVAILABLE, signal_exit_code
from sentq_worker.group.child import Child, RunningChild
from sentq_worker.group.link import CLOSING_S
from sentq_worker.group.plan import ChildPlan
from sentq_worker.group.restarts import exit_code_of

__all__ = ["ChildProgram", "GroupParent"]

logger = logging.getLogger(__name__)

#: At this many signals children exit at once; if they do not, they are killed soon after.
_AT_ONCE: Final = 3
_AT_ONCE_S: Final = 2.0

#: How long the parent sleeps at most, in seconds.
_MOST_WAIT_S: Final = 60.0

#: The command of a child, and the variables that it has beside those of the parent.
ChildProgram = Callable[[ChildPlan], tuple[Sequence[str], Mapping[str, str]]]


class GroupParent:
    """Runs children until it is told to end, or until one cannot be kept running.

    Args:
        children: The children, not started yet.
        program: Returns what a child runs.
        grace_s: How long a child may take to finish its batch.
        on_end: Called once when the group begins to end.
    """

    def __init__(
        self,
        children: Sequence[Child],
        program: ChildProgram,
        *,
        grace_s: float,
        on_end: Callable[[], object] = lambda: None,
    ) -> None:
        self._children = children
        self._program = program
        self._limit_s = grace_s + CLOSING_S
        self._on_end = on_end
        self._signal = signal.SIGTERM
        #: How often the children were told to end.
        self._times = 0
        self._kill_at = float("inf")
        self._codes: list[int] = []
        #: The exit code, if a child was given up.
        self._failed_with: int | None = None

    def run(self) -> int:
        """Run the group in this thread, which must be the main one, and return the exit code."""
        with _signals() as wait:
            while True:
                self._start_due()
                if self._times and not any(each.running for each in self._children):
                    return self._exit_code()
                for number in wait(self._wait_s()):
                    if number in {signal.SIGTERM, signal.SIGINT}:
                        self._signal = number
                        self._end()
                self._reap()
                if time.monotonic() >= self._kill_at:
                    self._kill()

    def _start_due(self) -> None:
        for child in self._children:
            is_due = child.due_at is not None and time.monotonic() >= child.due_at
            if is_due and not self._times:
                self._start(child)

    def _start(self, child: Child) -> None:
        plan = child.plan
        command, variables = self._program(plan)
        try:
            running = RunningChild(plan, command, os.environ | dict(variables))
        except OSError as error:
            logger.critical("process %s cannot be started: %s", plan.label, error)
            self._after_end(child, EX_UNAVAILABLE, ran_s=0.0)
            return
        child.running, child.due_at = running, None
        logger.info(
            "process %s has the id %d: %s%s%s",
            plan.label,
            running.process.pid,
            plan.device,
            "" if plan.cores is None else f", cores {', '.join(map(str, sorted(plan.cores)))}",
            "" if plan.threads is None else f", threads: {plan.threads}",
        )

    def _reap(self) -> None:
        for child in self._children:
            running = child.running
            code = None if running is None else running.process.poll()
            if running is None or code is None:
                continue
            running.link.close()
            child.running = None
            if self._times:
                # A process that was still importing had no handler for the signal.
                is_early = code == -signal.SIGTERM and not running.has_answered
                self._codes.append(0 if is_early else code)
            else:
                self._after_end(child, code, ran_s=running.ran_s)

    def _after_end(self, child: Child, code: int, *, ran_s: float) -> None:
        """Start a child again later, or give it up."""
        delay_s = child.policy.delay_s(ran_s=ran_s, return_code=code)
        if delay_s is not None:
            child.restarts += 1
            child.due_at = time.monotonic() + delay_s
            logger.error(
                "process %s %s after %.0f s; failure %d in a row: it is started again in %.1f s",
                child.label,
                _how(code),
                ran_s,
                child.policy.failures,
                delay_s,
            )
            return
        child.due_at = None
        others = [each for each in self._children if not each.is_given_up]
        has_started = all(each.was_ready for each in self._children)
        logger.critical(
            "process %s %s after %.0f s and is not started again; %s",
            child.label,
            _how(code),
            ran_s,
            f"{len(others)} others go on" if others and has_started else "all processes end",
        )
        if not others or not has_started:
            self._failed_with = exit_code_of(code)
            self._end()

    def _end(self) -> None:
        self._times += 1
        if self._times == 1:
            self._kill_at = time.monotonic() + self._limit_s
            self._on_end()
        elif self._times == _AT_ONCE:
            self._kill_at = time.monotonic() + _AT_ONCE_S
        for child in self._children:
            child.due_at = None
            if child.running is not None:
                child.running.end(self._signal, times=self._times)

    def _kill(self) -> None:
        self._kill_at = float("inf")
        for child in self._children:
            if child.running is not None:
                logger.critical("process %s has not ended in time, and is killed", child.label)
                child.running.kill()

    def _wait_s(self) -> float:
        due = [each.due_at for each in self._children if each.due_at is not None]
        return max(0.0, min([self._kill_at, *due]) - time.monotonic())

    def _exit_code(self) -> int:
        if self._failed_with is not None:
            return self._failed_with
        if self._times > 1:
            return signal_exit_code(self._signal)
        return max((code if code >= 0 else EX_UNAVAILABLE for code in self._codes), default=0)


def _how(return_code: int) -> str:
    if return_code >= 0:
        return f"has ended with status {return_code}"
    try:
        return f"was ended by {signal.Signals(-return_code).name}"
    except ValueError:
        return f"was ended by signal {-return_code}"


@contextmanager
def _signals() -> Iterator[Callable[[float], list[signal.Signals]]]:
    """Yield a function that waits for signals, for so many seconds, and returns them."""

    def ignore(_number: int, _frame: FrameType | None) -> None:
        """The number is written to the pipe."""

    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
    handlers = {number: signal.signal(number, ignore) for number in numbers}

    def wait(most_s: float) -> list[signal.Signals]:
        readable, _, _ = select.select([reader], [], [], min(most_s, _MOST_WAIT_S))
        return [signal.Signals(number) for number in os.read(reader, 512)] if readable else []

    try:
        yield wait
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(before)
        os.close(reader)
        os.close(writer)
