"""The loader of Lua scripts: includes, digests, and a Redis that does not have the script yet."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from kombu import Connection

from sentq.wire.lua import Script, load_script, resolve_includes
from tests.support.processes import RedisProcess

ROOT = Path(__file__).parents[3]
FILES = sorted(
    path.relative_to(ROOT)
    for folder in ("producer", "worker")
    for path in (ROOT / folder).rglob("scripts/**/*.lua")
)
SCRIPTS = [path for path in FILES if path.parent.name == "scripts"]


def test_a_script_is_loaded_when_redis_does_not_have_it(redis_server: RedisProcess) -> None:
    script = Script("return {KEYS[1], ARGV[1]}")
    with redis_server.client() as connection:
        connection.script_flush()
        for _ in range(2):
            assert script.run(connection, ["key"], [7]) == [b"key", b"7"]
        assert connection.script_exists(script.digest) == [True]


def test_a_script_is_sent_once_for_a_server(redis_server: RedisProcess) -> None:
    script = Script("return 1")
    with redis_server.client() as connection:
        connection.script_flush()
        connection.config_resetstat()
        for _ in range(5):
            script.run(connection, [])
        stats = connection.info("commandstats")
    loads = stats.get("cmdstat_script|load") or stats["cmdstat_script"]
    assert loads["calls"] == 1
    assert "cmdstat_eval" not in stats


def test_kombus_client_adds_no_prefix_to_keys_of_scripts(redis_server: RedisProcess) -> None:
    script = Script("return KEYS")
    options = {"global_keyprefix": "acme:"}
    with Connection(redis_server.url, transport_options=options) as connection:
        client = connection.default_channel.client
        assert script.run(client, ["acme:a", "acme:b"]) == [b"acme:a", b"acme:b"]


def test_a_library_is_included_once_and_before_its_users() -> None:
    text = load_script("sentq_worker.broker", "store_result_and_dead_letter").text
    for function in ("status_of", "store_result", "append_dead_letter", "dead_letter_message"):
        assert text.count(f"local function {function}(") == 1
    order = ["status_of", "store_result", "append_dead_letter", "dead_letter_message"]
    places = [text.index(f"local function {function}(") for function in order]
    assert places == sorted(places)

    twice = resolve_includes("-- include: result_states\n-- include: requeue_result\n")
    assert twice.count("local function status_of(") == 1
    assert "-- include:" not in text + twice


@pytest.mark.parametrize("name", ["no_such_script", "../wire/scripts/push_jobs_"])
def test_a_missing_script_is_an_error(name: str) -> None:
    with pytest.raises(FileNotFoundError):
        load_script("sentq.wire", name)


def test_a_missing_library_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        resolve_includes("-- include: no_such_library\n")


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_documents_its_keys_and_arguments_and_what_it_returns(path: Path) -> None:
    header, code = _header_and_code(path)
    for name in (each for each in ("KEYS", "ARGV") if each in code):
        documented = re.findall(
            rf"^-- {name}\[(?:\d+|[A-Z] \+ \d+|\d+ \+ [A-Z])\]  +\S", header, re.M
        )
        assert documented, f"{name} is not documented"
        for number in re.findall(rf"{name}\[(\d+)\]", code):
            assert f"-- {name}[{number}] " in header, f"{name}[{number}] is not documented"
    assert re.search(r"^-- Returns ", header, re.MULTILINE)


@pytest.mark.parametrize("path", [file for file in FILES if file not in SCRIPTS], ids=str)
def test_a_library_documents_its_functions(path: Path) -> None:
    """A library of one function is named after it, and may have helpers after that."""
    header, code = _header_and_code(path)
    documented = " ".join(re.sub(r"^--", "", header, flags=re.M).split())
    signatures = re.findall(r"^local function (\w+\([^)]*\))", code, re.MULTILINE)
    names = [signature.split("(")[0] for signature in signatures]
    assert names
    if path.stem in names:
        assert signatures[names.index(path.stem)] in documented
        assert "Returns " in header
    else:
        assert [one for one in signatures if f"{one}: " not in documented] == []


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_has_a_test(path: Path) -> None:
    package = "producer/wire" if path.parts[0] == "producer" else f"worker/{path.parts[2]}"
    files = (ROOT / "tests" / package).glob("test_*scripts.py")
    assert any(f'"{path.stem}"' in file.read_text(encoding="utf-8") for file in files)


def _header_and_code(path: Path) -> tuple[str, str]:
    lines = (ROOT / path).read_text(encoding="utf-8").splitlines()
    count = next(i for i, line in enumerate(lines) if not line.startswith("--"))
    return "\n".join(lines[:count]), "\n".join(lines[count:])
