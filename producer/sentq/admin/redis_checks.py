"""Checks of one Redis: version, persistence, eviction, memory, latency, clock."""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import redis

from sentq.admin.findings import DoctorFinding, ok, problem, unless_refused, warning

__all__ = ["check_clock", "check_latency", "check_server"]

_Info = Mapping[str, Any]
_Version = tuple[int, ...]

_MIN_VERSION: Final = (6, 2)

#: The least patched version of each line: docs/security.md has the reasons and the date. A line
#: that is not here is newer, or has no fixes any more.
_PATCHED: Final[Mapping[str, Mapping[_Version, _Version]]] = {
    "redis": {
        (6, 2): (6, 2, 24),
        (7, 2): (7, 2, 16),
        (7, 4): (7, 4, 11),
        (8, 2): (8, 2, 9),
        (8, 4): (8, 4, 6),
        (8, 6): (8, 6, 6),
        (8, 8): (8, 8, 2),
        (8, 10): (8, 10, 1),
    },
    "valkey": {
        (7, 2): (7, 2, 14),
        (8, 0): (8, 0, 10),
        (8, 1): (8, 1, 9),
        (9, 0): (9, 0, 5),
        (9, 1): (9, 1, 1),
    },
}
_UNMAINTAINED: Final = {"redis": ((7, 0), (8, 0))}

_FULL: Final = 0.9
_FILLING: Final = 0.75
_SLOW_MS: Final = 20.0
_PINGS: Final = 15
_SKEW_S: Final = 2.0
_MIB: Final = 1024 * 1024


def check_server(connection: redis.Redis, name: str) -> list[DoctorFinding]:
    """Check version, persistence, eviction and memory of a Redis.

    Args:
        connection: Of any user; what its user may not ask for is not known.
        name: Begins the names of the checks.

    Raises:
        redis.RedisError: Redis does not answer.
    """

    def check() -> list[DoctorFinding]:
        info: dict[str, Any] = connection.info()
        return [
            _version(info, f"{name}: version"),
            _persistence(info, f"{name}: persistence", lambda: _snapshots(connection)),
            _eviction(info, f"{name}: eviction"),
            _memory(info, f"{name}: memory"),
            *_default_user(info, f"{name}: users", connection),
        ]

    return unless_refused(f"{name}: version, persistence, eviction, memory", check)


def check_latency(connection: redis.Redis, name: str) -> DoctorFinding:
    """Measure how long Redis takes to answer.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    times_ms = []
    for _ in range(_PINGS):
        began_s = time.perf_counter()
        connection.execute_command("PING")
        times_ms.append((time.perf_counter() - began_s) * 1000)
    median_ms = statistics.median(times_ms)
    check, message = f"{name}: latency", f"{median_ms:.1f} ms, {max(times_ms):.1f} ms at most"
    if median_ms > _SLOW_MS:
        return warning(
            check, message, "let Redis run nearer to clients and workers, and find slow commands"
        )
    return ok(check, message)


def check_clock(connection: redis.Redis, name: str) -> list[DoctorFinding]:
    """Compare the clock of this host with that of Redis."""

    def check() -> list[DoctorFinding]:
        before_s = time.time()
        seconds, microseconds = connection.time()
        after_s = time.time()
        skew_s = (before_s + after_s) / 2 - (seconds + microseconds / 1e6)
        check_name = f"{name}: clock"
        message = f"this host is {abs(skew_s):.1f} s {'ahead of' if skew_s > 0 else 'behind'} Redis"
        if abs(skew_s) > _SKEW_S + (after_s - before_s):
            return [
                warning(
                    check_name,
                    message,
                    "let NTP set both clocks: ids of jobs have the sender's time, so `queued_ms` "
                    "and the age of waiting jobs are wrong; deadlines and leases are not affected",
                )
            ]
        return [ok(check_name, f"within {_SKEW_S:.0f} s of this host's")]

    return unless_refused(f"{name}: clock", check)


def _version(info: _Info, check: str) -> DoctorFinding:
    is_valkey = "valkey_version" in info
    product = "valkey" if is_valkey else "redis"
    text = str(info.get("valkey_version" if is_valkey else "redis_version", ""))
    version = tuple(int(part) for part in re.findall(r"\d+", text)[:3])
    message = f"{product.capitalize()} {text}"
    if version < _MIN_VERSION:
        return problem(check, f"{message} is too old", "sentq needs Redis 6.2 or later, or Valkey")
    patched = _PATCHED[product].get(version[:2])
    if patched is not None and version < patched:
        wanted = ".".join(map(str, patched))
        return warning(
            check,
            f"{message} has known flaws",
            f"install {wanted} or later, or a package of your distribution with its fixes",
        )
    if version[:2] in _UNMAINTAINED.get(product, ()):
        return warning(
            check,
            f"{message}: this line has no fixes of its makers any more",
            "use a package that your distribution maintains, or a newer line",
        )
    return ok(check, message)


def _snapshots(connection: redis.Redis) -> bool | None:
    """Return whether Redis writes snapshots by itself, None if this user may not ask."""
    try:
        return bool(connection.config_get("save").get("save"))
    except redis.ResponseError:
        return None


def _persistence(
    info: _Info, check: str, has_snapshots: Callable[[], bool | None]
) -> DoctorFinding:
    advice = "set `appendonly yes` and `appendfsync everysec`, as configs/redis.conf has it"
    if info.get("loading"):
        return problem(check, "Redis loads its data", "wait until it has")
    if info.get("aof_enabled"):
        if info.get("aof_last_write_status", "ok") != "ok":
            return problem(
                check, "the append-only file cannot be written", "look at Redis' disk and its log"
            )
        return ok(check, "append-only file")
    snapshots = has_snapshots()
    if snapshots and info.get("rdb_last_bgsave_status", "ok") != "ok":
        return problem(check, "the last snapshot failed", "look at Redis' disk and its log")
    if snapshots is False:
        return problem(check, "off: all jobs are lost when Redis ends", advice)
    return warning(
        check, "no append-only file: jobs accepted after the last snapshot can be lost", advice
    )


def _default_user(info: _Info, check: str, connection: redis.Redis) -> list[DoctorFinding]:
    """Say if the user `default` lacks rights with which the append-only file is read."""
    if not info.get("aof_enabled") or str(info.get("redis_version", "")).startswith("6."):
        return []
    try:
        user: Any = connection.acl_getuser("default")
    except redis.ResponseError:
        return []  # This user may not ask.
    if user["categories"] == ["+@all"] and not user["commands"] and "~*" in user["keys"]:
        return []
    message = (
        "the user default may not run each command: after a restart, most servers leave out "
        "transactions of their append-only file"
    )
    advice = (
        "before a restart, begin the ACL file with `user default off ~* &* +@all`, as "
        "configs/users.acl does"
    )
    return [warning(check, message, advice)]


def _eviction(info: _Info, check: str) -> DoctorFinding:
    policy = str(info.get("maxmemory_policy", ""))
    if policy == "noeviction":
        return ok(check, policy)
    return problem(
        check,
        f"maxmemory-policy is {policy}: Redis may delete jobs and outcomes when it is full",
        "set `maxmemory-policy noeviction`",
    )


def _memory(info: _Info, check: str) -> DoctorFinding:
    used, limit = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    if not limit:
        return ok(check, f"{used / _MIB:,.0f} MiB used, no maxmemory")
    message = f"{used / _MIB:,.1f} of {limit / _MIB:,.1f} MiB used ({used / limit:.0%})"
    advice = (
        "start more workers, raise maxmemory, or set max_queued_jobs or max_queued_bytes; "
        "`sentq status` shows what waits, `sentq dead list` the dead letters"
    )
    if used >= _FULL * limit:
        return problem(check, f"nearly full: {message}", advice)
    if used >= _FILLING * limit:
        return warning(check, message, advice)
    return ok(check, message)
