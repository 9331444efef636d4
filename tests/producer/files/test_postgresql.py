"""Tables of PostgreSQL as input and output: each row has its outcome stored once."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from pyarrow import parquet
from rich.console import Console

from sentq.cli.source import names_files
from sentq.errors import ResultsUnavailable
from sentq.files import FileProblem
from sentq.files.postgresql import session, target
from sentq.files.postgresql.address import DatabaseAddress, DatabaseUnavailable
from sentq.files.run.scoring import ModelName, ScoredTexts
from sentq.files.run.state import RunChanged
from tests.support.databases.kills import kill_runs, labels_by_rule
from tests.support.databases.postgresql import PASSWORD, PostgresServer, postgresql_server
from tests.support.files.scoring import RuleScoring
from tests.support.files.scoring import run_by_rule as run_with_options

_PART: Final = 100
_ROWS: Final = 5 * _PART + 50

_VALUES: Final = """
CREATE TYPE mood AS ENUM ('fine');
CREATE TABLE "Odd ""values" (
  "the key" uuid PRIMARY KEY, body text, n numeric(10,2), m numeric, day date,
  at timestamptz, plain timestamp, j jsonb, list int[], f float8, raw bytea, flag bool,
  mood mood, took interval
);
INSERT INTO "Odd ""values" VALUES
 ('00000000-0000-0000-0000-000000000001', 'good', 1.5, 1e30, '2024-02-29',
  '2024-02-29 23:59:59.5+02', '0044-03-15 BC', '{"x": [1, null]}', '{1,NULL}', 'NaN', '\\x00ff',
  true, 'fine', '1 day 2 hours'),
 ('00000000-0000-0000-0000-000000000002', NULL, 'NaN', NULL, 'infinity', '-infinity', NULL, NULL,
  NULL, 1.5, NULL, NULL, NULL, NULL)
"""


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with postgresql_server() as server:
        yield server


_numbers = itertools.count()


@pytest.fixture
def table(server: PostgresServer) -> str:
    """A table of rows, and a table of how often each of them is written."""
    name = f"reviews{next(_numbers)}"
    server.execute(
        f"CREATE TABLE {name} (id bigint PRIMARY KEY, body text, twice text)",
        f"""INSERT INTO {name} SELECT g * 7, (ARRAY['good', 'bad', ''])[1 + g % 3], 'x'
            FROM generate_series(1, {_ROWS}) g ORDER BY g % 10""",
    )
    return name


def run_by_rule(url: str, out: str, table: str, **options: Any) -> int:
    defaults: dict[str, Any] = {"field": "body", "rows_per_part": _PART}
    return run_with_options(url, out, in_table=table, **(defaults | options)).rows


class _Interrupted(RuleScoring):
    """Calls something after some texts."""

    def __init__(self, after: int, then: Any) -> None:
        super().__init__()
        self._after = after
        self._then = then
        self.texts = 0

    def score(self, texts: Iterable[object]) -> Iterator[ScoredTexts]:
        for scored in super().score(texts):
            if self.texts <= self._after < self.texts + len(scored.outcomes):
                self._then()
            self.texts += len(scored.outcomes)
            yield scored


def _no_redis() -> None:
    raise ResultsUnavailable("no Redis")


def _interrupt(url: str, out: str, table: str, **options: Any) -> None:
    with pytest.raises(ResultsUnavailable):
        run_by_rule(url, out, table, scoring=_Interrupted(2 * _PART + 70, _no_redis), **options)


def _outcomes(server: PostgresServer, table: str) -> list[tuple[Any, ...]]:
    return server.execute(f"SELECT id, coalesce(sentq_label, sentq_error) FROM {table} ORDER BY id")


_EXPECTED: Final = [
    (7 * n, ("positive", "negative", "empty_text")[n % 3]) for n in range(1, _ROWS + 1)
]


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://me:{PASSWORD}@@host/db",
        f"postgresql://me:4{PASSWORD}/{PASSWORD}@host/db",
        f"postgresql://me:4/{PASSWORD}@host/db",
        f"postgresql://host:{PASSWORD}/db",
        f"postgresql://host/db?{PASSWORD}",
    ],
)
def test_no_message_on_a_url_has_the_password(url: str) -> None:
    with pytest.raises(FileProblem, match="percent-encoded") as caught:
        DatabaseAddress.parse(url)
    assert PASSWORD not in str(caught.value)


def test_the_url_of_a_database_is_no_text() -> None:
    url = f"postgresql://me:{PASSWORD}@host:5432/db"
    assert names_files([url], form=None, field=None, as_text=False)
    address = DatabaseAddress.parse(url)
    assert PASSWORD not in repr(address)
    assert str(address) == "postgresql://host:5432/db"


# Each of the following needs a server, which starts in a second.


@pytest.mark.process
def test_values_pass_through_with_their_types(server: PostgresServer, tmp_path: Path) -> None:
    server.execute(_VALUES)
    for name in ("o.jsonl", "o.csv", "o.parquet"):
        assert run_by_rule(server.url, f"{tmp_path}/{name}", 'Odd "values') == 2
    first, second = map(json.loads, (tmp_path / "o.jsonl").read_text().splitlines())
    assert first == {
        "the key": "00000000-0000-0000-0000-000000000001",
        "body": "good",
        "n": "1.50",
        "m": "1" + "0" * 30,
        "day": "2024-02-29",
        "at": "2024-02-29T21:59:59.5+00:00",
        "plain": "0044-03-15T00:00:00 BC",
        "j": {"x": [1, None]},
        "list": [1, None],
        "f": None,
        "raw": "AP8=",
        "flag": True,
        "mood": "fine",
        "took": "P1DT2H",
        "sentq_label": "positive",
        **{key: first[key] for key in ("sentq_score", "sentq_sentiment")},
        "sentq_error": None,
        "sentq_message": None,
    }
    assert (second["day"], second["at"], second["n"]) == ("infinity", "-infinity", "NaN")
    assert second["sentq_error"] == "not_a_string"
    assert "-infinity" in (tmp_path / "o.csv").read_text()
    table = parquet.read_table(tmp_path / "o.parquet")
    kinds = {field.name: str(field.type) for field in table.schema}
    assert kinds["n"] == "decimal128(10, 2)"
    assert kinds["day"] == "date32[day]"
    assert kinds["at"] == "timestamp[us, tz=UTC]"
    assert kinds["flag"] == "bool"
    assert kinds["raw"] == "binary"
    assert table.column("at").cast("int64").to_pylist() == [1_709_243_999_500_000, None]
    assert table.column("plain").cast("int64").to_pylist()[0] < 0


@pytest.mark.process
@pytest.mark.parametrize("suffix", ["", "_scores"])
def test_a_run_goes_on_and_takes_rows_that_came(
    server: PostgresServer, table: str, suffix: str
) -> None:
    out = table + suffix
    options: dict[str, Any] = {"out_table": out} if suffix else {}
    _interrupt(server.url, server.url, table, **options)
    counting = _Interrupted(-1, None)
    assert run_by_rule(server.url, server.url, table, scoring=counting, **options) == _ROWS
    assert counting.texts == _ROWS - 2 * _PART
    assert _outcomes(server, out) == _EXPECTED
    # The same command again scores what came since, and does not open the scoring without need.
    assert run_by_rule(server.url, server.url, table, scoring=None, **options) == _ROWS
    server.execute(f"INSERT INTO {table} VALUES (99999, 'good', 'x')")
    assert run_by_rule(server.url, server.url, table, **options) == _ROWS + 1
    assert _outcomes(server, out)[-1] == (99999, "positive")
    state = str(server.execute("SELECT state FROM sentq_runs"))
    assert PASSWORD not in state


@pytest.mark.process
def test_nothing_is_mixed_or_overwritten(server: PostgresServer, table: str) -> None:
    def again(says: str, error: type[FileProblem] = RunChanged, **options: Any) -> None:
        with pytest.raises(error, match=says) as caught:
            run_by_rule(server.url, server.url, table, **options)
        assert PASSWORD not in str(caught.value)

    _interrupt(server.url, server.url, table)
    again("--columns was .* and is label. --restart", columns="label")
    again("--field was body and is twice", field="twice")
    other = RuleScoring(ModelName("owner/other", None))
    again("scored by rule .* and now owner/other answers", scoring=other)
    server.execute(f"ALTER TABLE {table} ALTER body TYPE varchar(900)")
    again(r"columns was id bigint, body text and is id bigint, body character varying\(900\)")
    server.execute(f"DROP TABLE {table}", f"CREATE TABLE {table} (id int PRIMARY KEY, body text)")
    again(f"public.{table} has no column 'sentq_label' any more: --restart", FileProblem)

    server.execute(f"CREATE TABLE {table}_x (id int PRIMARY KEY); INSERT INTO {table}_x VALUES (5)")
    for restart in (False, True):
        again(
            "has rows that are not of this run",
            FileProblem,
            out_table=f"{table}_x",
            restart=restart,
        )
    server.execute(
        "DELETE FROM sentq_runs",
        f"ALTER TABLE {table} ADD sentq_error text, ADD other_label int",
        f"INSERT INTO {table} VALUES (1, 'good', 'kept')",
    )
    again(
        "'sentq_error' of .* has values already: --restart overwrites",
        FileProblem,
        columns="error",
        restart=False,
    )
    again(
        "'other_label' .* is of the type integer, and outcomes need text",
        FileProblem,
        prefix="other_",
        restart=True,
    )
    assert run_by_rule(server.url, server.url, table, restart=True) == 1
    assert _outcomes(server, table) == [(1, "positive")]


@pytest.mark.process
def test_what_cannot_be_read_or_written_is_said(
    server: PostgresServer, table: str, tmp_path: Path
) -> None:
    server.execute(
        f"CREATE VIEW {table}_v AS SELECT 1 AS id, body FROM {table}",
        f"CREATE TABLE {table}_n (id int UNIQUE, other int, body text, PRIMARY KEY (id, other))",
        f"CREATE TABLE {table}_j AS SELECT '{{}}'::json AS id, body FROM {table} LIMIT 1",
        f"CREATE VIEW {table}_jv AS SELECT * FROM {table}_j",
        "DROP ROLE IF EXISTS guest",
        "CREATE ROLE guest LOGIN PASSWORD 'guest-secret'",
    )
    guest = server.url_of("guest", "guest-secret")
    columns = {"out": server.url}
    cases: list[tuple[str, str, dict[str, Any], str]] = [
        (
            server.url,
            "none",
            {},
            f"no table 'none'; choose one with --in-table: .*{table}",
        ),
        (
            server.url,
            table,
            {"field": "text"},
            "no column 'text'; choose one with --field: id, body",
        ),
        (server.url, table, {"field": "id"}, "is of the type bigint, which holds no texts"),
        (server.url, table, {"key_column": "twice"}, "is no key: it has no unique index"),
        (server.url, f"{table}_n", {}, "no primary key of one column: .* --key-column: id"),
        (server.url, f"{table}_v", {}, "no primary key of one column"),
        (
            server.url,
            f"{table}_v",
            {"key_column": "id"},
            "a value of the column 'id' .* not unique",
        ),
        (server.url, f"{table}_jv", {"key_column": "id"}, "json, which has no order"),
        (server.url, f"{table}_v", {"key_column": "id"} | columns, "is a view or a foreign table"),
        (guest, table, {}, "may not read the column 'id'.* GRANT SELECT"),
        (server.url_of("owner", "wrong"), table, {}, "password authentication failed"),
        (server.url, table, {"encoding": "utf-8"}, "read files, and not a database"),
        (server.url, table, columns | {"report": Path("r.html")}, "must be a file or a folder"),
    ]
    for number, (url, name, options, says) in enumerate(cases):
        out = options.get("out", f"{tmp_path}/{number}.jsonl")
        others = {key: value for key, value in options.items() if key != "out"}
        with pytest.raises(FileProblem, match=says) as caught:
            run_by_rule(url, out, name, **others)
        assert not any(secret in str(caught.value) for secret in (PASSWORD, "guest-secret"))
    server.execute(f"GRANT SELECT ON {table} TO guest", "DROP TABLE IF EXISTS sentq_runs")
    with pytest.raises(FileProblem, match=f'Its owner can: ALTER TABLE "public"."{table}" ADD'):
        run_by_rule(guest, guest, table)
    run_by_rule(server.url, server.url, table)
    with pytest.raises(FileProblem, match=r"GRANT SELECT, INSERT, UPDATE ON public\.sentq_runs"):
        run_by_rule(guest, guest, table, prefix="other_")
    with pytest.raises(DatabaseUnavailable, match="did not answer"):
        run_by_rule("postgresql://127.0.0.1:1/postgres", f"{tmp_path}/x.jsonl", table)


@pytest.mark.slow
@pytest.mark.process
def test_a_run_outlives_a_restart_of_the_server_and_keeps_others_out(
    server: PostgresServer, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(target, "_LOCK_WAIT_S", 0.2)

    def disturb() -> None:
        with pytest.raises(FileProblem, match="another process writes"):
            run_by_rule(server.url, server.url, table)
        server.stop()
        server.start()

    scoring = _Interrupted(2 * _PART + 70, disturb)
    assert run_by_rule(server.url, server.url, table, scoring=scoring) == _ROWS
    assert _outcomes(server, table) == _EXPECTED

    monkeypatch.setattr(session, "_WAITS_S", (0.05, 0.05))
    said = io.StringIO()
    with pytest.raises(DatabaseUnavailable) as caught:
        run_by_rule(
            server.url,
            server.url,
            table,
            restart=True,
            scoring=_Interrupted(2 * _PART + 70, server.stop),
            console=Console(file=said, width=200),
        )
    server.start()
    assert PASSWORD not in str(caught.value) + said.getvalue()
    assert "ended after 256 rows; the same command goes on" in said.getvalue()
    assert run_by_rule(server.url, server.url, table) == _ROWS
    assert _outcomes(server, table) == _EXPECTED


@pytest.mark.slow
@pytest.mark.process
def test_each_row_is_stored_once_though_the_process_is_killed(server: PostgresServer) -> None:
    told = kill_runs(server, rows=10_000, rows_per_part=400, kills=2)
    assert len(told.parts_at_kills) == 2
    assert {told.scored, told.writes, told.written, told.same} == {10_000}
    assert labels_by_rule(server)
