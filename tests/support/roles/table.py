"""What each user of `configs/users.acl` may do: every command of Redis on every key of sentq.

`python -m tests.support.roles.table` prints the tables; with `--write` it puts them into
`docs/roles.md`. Redis itself is asked, with ACL DRYRUN, so a Redis 7 is needed.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import redis

from tests.support.processes import RedisProcess
from tests.support.roles.users import ROLES, functions_program, write_users

__all__ = ["KeyRights", "key_names", "measured_rights", "page", "users_server"]

ROOT: Final = Path(__file__).parents[3]
PAGE: Final = ROOT / "docs" / "roles.md"
BEGIN: Final = "<!-- Written by `make docs`. -->\n"

#: Names that the table of keys does not have: kombu's, and one of another application.
_MORE_NAMES: Final = (
    "unacked_mutex",
    "_kombu.binding.sentq",
    "_kombu.binding_permanent.sentq",
    "_kombu.binding.celery.pidbox",
    "<id>.reply.celery.pidbox",
    "session:<id> of another application",
)

_CHANNELS: Final = (
    "celery-task-meta-<id>",
    "sentq-batch-<id>",
    "/0.celery.pidbox",
    "/0.celeryev/worker.heartbeat",
    "__keyspace@0__:sentq",
)

#: Of the connection itself. All users have them, and they reach no data.
_CONNECTION: Final = re.compile(
    r"auth|hello|ping|quit|echo|reset|asking|readonly|readwrite|time|multi|exec|discard|watch|wait"
    r"|unwatch|command\b.*|client \w[\w-]*|\w+ help"
)


@dataclass(frozen=True, slots=True)
class KeyRights:
    """What one role may do.

    Attributes:
        by_key: The commands that it may run, by the name of the key.
        by_channel: The same for channels.
        others: Commands without a key or channel, except those of the connection itself.
    """

    by_key: Mapping[str, frozenset[str]]
    by_channel: Mapping[str, frozenset[str]]
    others: frozenset[str]


def key_names() -> list[str]:
    """Return the names in the table of keys in `docs/architecture.md`, and those of kombu."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    section = page.partition("## Names in Redis\n")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    names = [name for row in rows for name in re.findall(r"`([^`]+)`", row.split(" | ")[0])]
    lists = [f"{name}<priority>" for name in ("sentq", "sentq.bulk")]
    return list(dict.fromkeys([*lists, *names, *_MORE_NAMES]))


def measured_rights(connection: redis.Redis, role: str) -> KeyRights:
    """Ask Redis for every command on every key.

    Args:
        connection: Of a user that may run ACL DRYRUN.
        role: The user.
    """
    commands = [Command(info) for info in _command_infos(connection)]
    names = key_names()
    with_keys = [command for command in commands if command.has_keys]
    questions = [
        (name, command.words(_sample(name)), command) for name in names for command in with_keys
    ]
    by_key: dict[str, set[str]] = {name: set() for name in names}
    for name, _, command in _allowed(connection, role, questions):
        by_key[name].add(command.name)
    channels = [command for command in commands if "pubsub" in command.categories]
    questions = [
        (name, command.words(_sample(name)), command) for name in _CHANNELS for command in channels
    ]
    by_channel: dict[str, set[str]] = {name: set() for name in _CHANNELS}
    for name, _, command in _allowed(connection, role, questions):
        by_channel[name].add(command.name)
    without = [
        ("", command.words(""), command)
        for command in commands
        if not command.has_keys and "pubsub" not in command.categories
    ]
    others = {command.name for _, _, command in _allowed(connection, role, without)}
    return KeyRights(
        {name: frozenset(found) for name, found in by_key.items()},
        {name: frozenset(found) for name, found in by_channel.items()},
        frozenset(name for name in others if not _CONNECTION.fullmatch(name)),
    )


class Command:
    """A command as COMMAND describes it, and how it is called for one key."""

    def __init__(self, info: Sequence[Any]) -> None:
        self.name: str = info[0].replace("|", " ")
        self._arity = abs(info[1])
        self.categories = {str(each).lstrip("@") for each in info[6]}
        self._key_specs: list[dict[str, Any]] = [_as_dict(each) for each in info[8]]

    @property
    def has_keys(self) -> bool:
        """Whether it names keys."""
        return bool(self._key_specs)

    def words(self, key: str) -> list[str]:
        """Return the command for this key, or this channel, at each place of one."""
        words = [*self.name.split(" ")]
        words += ["1"] * (self._arity - len(words))
        if not self._key_specs:
            places = range(len(self.name.split(" ")), len(words))
            return [key if place in places and key else word for place, word in enumerate(words)]
        for spec in self._key_specs:
            self._place(words, spec, key)
        return words

    def _place(self, words: list[str], spec: dict[str, Any], key: str) -> None:
        begin, find = _as_dict(spec["begin_search"]), _as_dict(spec["find_keys"])
        at = _as_dict(begin["spec"])
        if begin["type"] == "index":
            first = int(at["index"])
        elif begin["type"] == "keyword":
            words.append(at["keyword"])
            first = len(words)
        else:
            return
        if find["type"] == "keynum":
            number = _as_dict(find["spec"])
            _put(words, first + int(number["keynumidx"]), "1")
            first += int(number["firstkey"])
        _put(words, first, key)


def _put(words: list[str], place: int, word: str) -> None:
    words.extend(["1"] * (place + 1 - len(words)))
    words[place] = word


def _as_dict(pairs: Any) -> dict[str, Any]:
    return pairs if isinstance(pairs, dict) else dict(zip(pairs[::2], pairs[1::2], strict=True))


def _command_infos(connection: redis.Redis) -> Iterator[Sequence[Any]]:
    """Yield the descriptions of all commands; of one that has subcommands, of these."""
    # redis-py leaves out the subcommands.
    raw = connection.connection_pool.get_connection()
    try:
        raw.send_command("COMMAND")
        found: Any = raw.read_response()
    finally:
        connection.connection_pool.release(raw)
    for info in _decoded(found):
        yield from info[9] or [info]


def _decoded(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, dict):
        return {_decoded(key): _decoded(each) for key, each in value.items()}
    return [_decoded(each) for each in value] if isinstance(value, (list, set)) else value


def _allowed(
    connection: redis.Redis, role: str, questions: Iterable[tuple[str, list[str], Command]]
) -> Iterator[tuple[str, list[str], Command]]:
    questions = list(questions)
    pipeline = connection.pipeline(transaction=False)
    for _, words, _ in questions:
        pipeline.execute_command("ACL", "DRYRUN", role, *words)
    for question, reply in zip(questions, pipeline.execute(raise_on_error=False), strict=True):
        assert not isinstance(reply, Exception), (question[1], reply)
        if reply in ("OK", b"OK", True):
            yield question


def _sample(name: str) -> str:
    """Return a key of this name."""
    name = name.replace("<priority>", "\x06\x169").partition(" of another")[0]
    return re.sub(r"<[^>]*>", "0193-7c1e", name)


@contextmanager
def users_server(folder: Path) -> Iterator[RedisProcess]:
    """Run a Redis 7 with the users of `configs/users.acl`; its own client has all rights."""
    users = write_users(folder, "default on nopass ~* &* +@all")
    server = RedisProcess(functions_program(), folder, "--aclfile", str(users)).start()
    try:
        yield server
    finally:
        server.stop()


def page(rights: Mapping[str, KeyRights]) -> str:
    """Return the tables in Markdown."""
    return "\n".join(_section(role, found) for role, found in rights.items())


def _section(role: str, rights: KeyRights) -> str:
    lines = [f"## {role}", "", "| Keys or channels | Commands |", "|---|---|"]
    groups: dict[frozenset[str], list[str]] = {}
    for name, commands in rights.by_key.items():
        groups.setdefault(commands, []).append(f"`{name}`")
    lines += [
        f"| {', '.join(names)} | {_listed(commands)} |"
        for commands, names in sorted(groups.items(), key=lambda group: not group[0])
    ]
    lines += [
        f"| channel `{name}` | {_listed(commands)} |"
        for name, commands in rights.by_channel.items()
        if commands
    ]
    lines += [f"| without keys | {_listed(rights.others)} |", ""]
    return "\n".join(lines)


def _listed(commands: Iterable[str]) -> str:
    return ", ".join(f"`{command}`" for command in sorted(commands)) or "none"


def main() -> None:
    """Print the tables, or write them into the page."""
    with (
        tempfile.TemporaryDirectory() as folder,
        users_server(Path(folder)) as server,
        server.client() as connection,
    ):
        tables = page({role: measured_rights(connection, role) for role in ROLES})
    if "--write" in sys.argv[1:]:
        head = PAGE.read_text(encoding="utf-8").partition(BEGIN)[0]
        PAGE.write_text(f"{head}{BEGIN}\n{tables}", encoding="utf-8")
    else:
        sys.stdout.write(tables)


if __name__ == "__main__":
    main()
