"""How an idle channel waits for messages: how long, by which commands, and what the replies mean.

    wait   BLMOVE q q RIGHT RIGHT   blocks until there is something, and moves nothing
    look   a script                 tells whether any queue has a message, and changes nothing

A wait ends at once when a single job arrives. Bulk work, and jobs of lower priority, are found by
looks. So waits are short while there is work, and grow with the time without any. In the end one
wait lasts for several looks, which use another connection.

The reply to BLMOVE is the message, which may be of any size. It is not sent: `CLIENT REPLY SKIP`
goes before it, and the reply to the look after it tells that the wait is over.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, Self

import redis
from redis.exceptions import NoPermissionError, NoScriptError, OutOfMemoryError

from sentq.wire.lua import load_script

__all__ = ["Look", "MessageWait"]

#: How long a wait blocks at least, and for which part of the time without messages. So bulk work
#: waits for a tenth of the pause before it, at most.
_MIN_WAIT_S: Final = 0.05
_WAIT_PART: Final = 0.1

#: A wait that has ended in less than this part of its time found a message, or was refused.
_FULL_WAIT_PART: Final = 0.5

#: How long a wait blocks while another connection looks. Kombu takes a connection for a broken one
#: that does not answer for a second longer.
_LONG_WAIT_S: Final = 5.0

_LOOK: Final = load_script("sentq_worker.broker", "look_for_messages")


class Look(NamedTuple):
    """What a look has found.

    Attributes:
        has_message: Whether a queue has a message.
        next_job_in_s: In how many seconds the next scheduled job is due; None without one.
        waiting_callbacks: How many callbacks of complete batches are to be published.
    """

    has_message: bool
    next_job_in_s: float | None
    waiting_callbacks: int

    @classmethod
    def read(cls, reply: Sequence[int]) -> Self:
        """Read the reply of the script."""
        has_message, next_ms, waiting_callbacks = reply
        return cls(bool(has_message), None if next_ms < 0 else next_ms / 1000, waiting_callbacks)

    @classmethod
    def run(cls, client: redis.Redis, keys: Sequence[str]) -> Self:
        """Look now.

        Raises:
            redis.RedisError: Redis did not answer.
        """
        return cls.read(_LOOK.run(client, keys))


class MessageWait:
    """The waits of one channel, one after the other.

    Args:
        idle_poll_s: How often an idle channel looks.
    """

    def __init__(self, idle_poll_s: float) -> None:
        self._idle_poll_s = idle_poll_s
        #: Whether another connection looks while a wait is long.
        self.has_looks_beside = False
        #: Whether Redis has no free memory: it refuses BLMOVE then, at once.
        self.is_memory_full = False
        #: Whether this user may keep Redis from sending the reply to a wait.
        self._may_skip_reply = True
        #: When there was work last, and when the wait was sent, by monotonic time.
        self._busy_at = self._sent_at = time.monotonic()
        self._lasts_s = _MIN_WAIT_S

    def work_seen(self) -> None:
        """Begin with short waits again."""
        self._busy_at = time.monotonic()

    @property
    def is_long(self) -> bool:
        """Whether the wait that was sent last needs looks on another connection."""
        return self._lasts_s >= _LONG_WAIT_S

    def send(
        self, connection: Any, waited_key: str, empty_key: str, look_keys: Sequence[str]
    ) -> None:
        """Send the next wait.

        Args:
            connection: The connection of kombu's that blocks.
            waited_key: A message in this list ends the wait.
            empty_key: A list that is always empty.
            look_keys: The keys of the look.
        """
        self._sent_at = time.monotonic()
        self._lasts_s = self._next_length_s()
        commands: list[tuple[object, ...]]
        if self.is_memory_full:
            commands = [("BRPOP", empty_key, self._lasts_s)]
        else:
            wait = ("BLMOVE", waited_key, waited_key, "RIGHT", "RIGHT", self._lasts_s)
            commands = [wait, _LOOK.command(look_keys, [])]
            if self._may_skip_reply:
                commands.insert(0, ("CLIENT", "REPLY", "SKIP"))
        connection.send_packed_command(connection.pack_commands(commands))

    def read(self, connection: Any) -> Look | None:
        """Read the replies to the wait that was sent; return what the look has found. None says
        that messages are to be taken without one."""
        if self.is_memory_full:
            connection.read_response()
            return None
        if self._may_skip_reply:
            try:
                return self._read_look(connection)
            except NoPermissionError:
                # The replies to BLMOVE and to the look follow, and do from now on.
                self._may_skip_reply = False
        with contextlib.suppress(OutOfMemoryError):  # The look has a reply all the same.
            connection.read_response()
        return self._read_look(connection)

    def _read_look(self, connection: Any) -> Look | None:
        try:
            look = Look.read(connection.read_response())
        except NoScriptError:
            # Redis has restarted, or another server took over.
            connection.send_command(*_LOOK.load_command)
            connection.read_response()
            return None
        waited_s = time.monotonic() - self._sent_at
        if waited_s < self._lasts_s * _FULL_WAIT_PART and not look.has_message:
            return None  # Redis may have refused to wait. The step that takes finds out.
        return look

    def _next_length_s(self) -> float:
        if self.is_memory_full:
            return _MIN_WAIT_S
        idle_s = time.monotonic() - self._busy_at
        length_s = max(_MIN_WAIT_S, idle_s * _WAIT_PART)
        if length_s < self._idle_poll_s:
            return length_s
        may_be_long = self.has_looks_beside and idle_s >= _LONG_WAIT_S
        return _LONG_WAIT_S if may_be_long else self._idle_poll_s
