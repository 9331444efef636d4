"""Redis Functions: what clients and operators run in Redis, loaded there by another role.

    scripts/push_jobs.lua ─┐
    scripts/cancel_job.lua ┼─▶ library sentq_<digest> ── FUNCTION LOAD, by workers ──▶ Redis
    …                     ─┘                                                            ▲
                              a client calls FCALL sentq_<digest>_push_jobs ────────────┘

So a client needs no right to run Lua of its own. The digest is that of all sources: clients and
workers of several versions use one Redis, each its own library. Functions are made from the same
files as scripts, and a Redis without them (6.2, or no worker has started yet) runs the scripts.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final
from weakref import WeakSet

import redis
from redis.exceptions import NoPermissionError, ResponseError

from sentq.wire.lua import Script, execute, load_script
from sentq.wire.steps import Steps

__all__ = ["FUNCTIONS", "GATEWAY_NAMES", "LIBRARY_NAME", "ClientFunction", "load_functions"]

#: The scripts of gateways alone.
GATEWAY_NAMES: Final = ("begin_request", "end_request", "take_tokens")

#: The scripts of clients and operators. Those of workers are no functions.
_NAMES: Final = (
    "cancel_batch_jobs",
    "cancel_job",
    "close_batch",
    "open_batch",
    "push_batch_jobs",
    "push_jobs",
    "push_jobs_with_conditions",
    "read_dead_letter_codes",
    "read_reports",
    "release_key",
    "requeue_one_result",
    "reserve_key",
    "retry_dead_letter",
    "retry_webhook",
    "settle_webhook",
    "take_webhooks",
    *GATEWAY_NAMES,
)

_FLAGS: Final = re.compile(r"^-- Flag: ([a-z-]+)$", re.MULTILINE)

#: How Redis refuses FCALL if it does not have the function, or no functions at all. A function
#: that has begun fails with other errors.
_MISSING: Final = re.compile(r"Function not found|unknown command", re.IGNORECASE)

#: The connection pools whose Redis does not offer functions to this user.
_pools_with_scripts: WeakSet[Any] = WeakSet()


class ClientFunction(Script):
    """A script of clients that Redis runs as a function, if it has it.

    Args:
        name: The name of the script.
        text: The whole script.
        library: The name of the library.
    """

    def __init__(self, name: str, text: str, library: str) -> None:
        super().__init__(text)
        self.name = f"{library}_{name}"

    def steps(
        self, keys: Sequence[str | bytes], arguments: Iterable[object], pool: object
    ) -> Steps[Any]:
        """Run the function, or the script on a Redis without it, and return the reply.

        Which of the two is found out once for each connection pool.

        Raises:
            redis.RedisError: Redis did not answer, or refused. `NoPermissionError`, if there is no
                function and the user may not run scripts.
        """
        arguments = tuple(arguments)
        if pool not in _pools_with_scripts:
            try:
                return (yield ("FCALL", self.name, len(keys), *keys, *arguments))
            except ResponseError as error:
                if not (isinstance(error, NoPermissionError) or _MISSING.search(str(error))):
                    raise
            # Not in the block above: the error may quote arguments, and must not be shown.
        try:
            reply = yield from super().steps(keys, arguments, pool)
        except NoPermissionError:
            # The next call looks for the function again: a worker may have loaded it by then.
            _pools_with_scripts.discard(pool)
            raise NoPermissionError(
                f"the functions {LIBRARY_NAME} are not in Redis, or not for this user and these "
                "keys, and it may not run scripts: start a worker of this version, or run "
                "`sentq admin load-functions`"
            ) from None
        _pools_with_scripts.add(pool)
        return reply


def load_functions(connection: redis.Redis, *, replace: bool = False) -> bool:
    """Load the functions into Redis, which keeps them like data; return whether it did.

    Args:
        connection: Of a user that may load functions.
        replace: Load them also if they are there, so that a changed library is replaced.

    Returns:
        False if they were there.

    Raises:
        redis.ResponseError: The user may not, or this Redis has no functions.
        redis.RedisError: Redis did not answer.
    """
    try:
        execute(connection, ("FUNCTION", "LOAD", *(["REPLACE"] if replace else []), _LIBRARY))
    except ResponseError as error:
        if "already exists" in str(error):
            return False
        if not _MISSING.search(str(error)):
            raise
    else:
        return True
    # Not in the block above: the error quotes the library.
    raise ResponseError("this Redis has no functions: they need Redis 7 or Valkey")


def _function(name: str, text: str, library: str) -> str:
    """Return the Lua that registers a script as a function."""
    flags = ", ".join(f"'{flag}'" for flag in _FLAGS.findall(text))
    return (
        f"redis.register_function{{function_name = '{library}_{name}', flags = {{{flags}}},\n"
        f"callback = function(KEYS, ARGV)\n{text}end}}\n"
    )


_TEXTS: Final = {name: load_script("sentq.wire", name).text for name in _NAMES}
_DIGEST: Final = hashlib.sha256("\0".join(_TEXTS.values()).encode()).hexdigest()

#: The library of this version.
LIBRARY_NAME: Final = f"sentq_{_DIGEST[:12]}"

_LIBRARY: Final = f"#!lua name={LIBRARY_NAME}\n" + "".join(
    _function(name, text, LIBRARY_NAME) for name, text in _TEXTS.items()
)

#: What clients and operators run in Redis, by the name of the script.
FUNCTIONS: Final = {name: ClientFunction(name, text, LIBRARY_NAME) for name, text in _TEXTS.items()}
