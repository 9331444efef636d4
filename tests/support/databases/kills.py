"""A run over a table that is killed, and whether each row has its outcome stored once.

    python -m tests.support.databases.kills [--rows N] [--kills N] [--engine]

A trigger of the table records each row that is written. The run stores outcomes in columns of the
table, by the rule of the test kit; with `--engine` by `sentq-worker score` with the bundled model.
It is killed with SIGKILL, each time within a part that it has begun.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from sentq.testing.scores import score_by_rule
from tests.support.databases.postgresql import PostgresServer, postgresql_server
from tests.support.files.scoring import run_by_rule

__all__ = ["KilledRuns", "kill_runs", "labels_by_rule"]

_SETUP: Final = (
    "CREATE TABLE reviews (id bigint PRIMARY KEY, body text NOT NULL)",
    "CREATE TABLE writes (id bigint NOT NULL, label text, score float8)",
    """CREATE FUNCTION record() RETURNS trigger LANGUAGE plpgsql AS
       'BEGIN INSERT INTO writes VALUES (NEW.id, NEW.sentq_label, NEW.sentq_score);
        RETURN NEW; END'""",
)

#: Keys have gaps, and are not in the order of the rows on the disk.
_ROWS: Final = (
    "INSERT INTO reviews SELECT 3 * g, (ARRAY['a good', 'a bad', 'some'])[1 + g % 3] || ' day ' || "
    "g FROM generate_series(1, {rows}) g ORDER BY hashint8(g)"
)
_TRIGGER: Final = (
    "CREATE TRIGGER recorded AFTER UPDATE ON reviews FOR EACH ROW EXECUTE FUNCTION record()"
)

_TOLD: Final = """
SELECT (SELECT count(*) FROM reviews),
       (SELECT count(*) FROM reviews WHERE sentq_label IS NOT NULL OR sentq_error IS NOT NULL),
       (SELECT count(*) FROM writes),
       (SELECT count(DISTINCT id) FROM writes),
       (SELECT count(*) FROM reviews JOIN writes USING (id)
        WHERE sentq_label IS NOT DISTINCT FROM label AND sentq_score IS NOT DISTINCT FROM score)
"""


class KilledRuns(NamedTuple):
    """What the runs over a table gave.

    Attributes:
        rows: How many rows the table has.
        scored: How many of them have an outcome.
        writes: How often an outcome was stored.
        written: In how many rows.
        same: How many rows have the outcome that was stored.
        parts_at_kills: How many parts were stored when the process was killed, each time.
        took_s: Seconds of all runs together.
    """

    rows: int
    scored: int
    writes: int
    written: int
    same: int
    parts_at_kills: Sequence[int]
    took_s: float


def kill_runs(
    server: PostgresServer, *, rows: int, rows_per_part: int, kills: int, engine: bool = False
) -> KilledRuns:
    """Score a table, and kill the process some times.

    Args:
        server: Has the table `reviews` afterwards.
        rows: Rows of the table.
        rows_per_part: Rows of a part.
        kills: How often the process is killed.
        engine: Whether the bundled model scores.
    """
    server.execute(*_SETUP, _ROWS.format(rows=rows), _TRIGGER)
    parts = -(-rows // rows_per_part)
    chance = random.Random(rows)
    moments = sorted(chance.sample(range(1, parts), kills))
    command = _command(server.url, rows_per_part, engine=engine)
    killed: list[int] = []
    began = time.monotonic()
    for moment in moments:
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
            while (stored := _parts(server)) < moment and process.poll() is None:
                time.sleep(0.005)
            time.sleep(chance.uniform(0, 0.05))
            process.kill()
        if process.returncode == 0:
            break  # It was complete.
        killed.append(stored)
    done = subprocess.run(command, check=False, stderr=subprocess.PIPE, text=True)
    if done.returncode not in {0, 1}:
        raise RuntimeError(done.stderr)
    took_s = time.monotonic() - began
    ((count, scored, writes, written, same),) = server.execute(_TOLD)
    return KilledRuns(count, scored, writes, written, same, killed, took_s)


def labels_by_rule(server: PostgresServer) -> bool:
    """Return whether each row has the label that the rule gives its text."""
    rows = server.execute("SELECT body, sentq_label FROM reviews")
    return all(score_by_rule(body).label == label for body, label in rows)


def _parts(server: PostgresServer) -> int:
    """Return how many parts are stored."""
    if server.execute("SELECT to_regclass('sentq_runs')::text") == [(None,)]:
        return 0
    found = server.execute("SELECT parts FROM sentq_runs WHERE output = 'reviews sentq_*'")
    return int(found[0][0]) if found else 0


def _command(url: str, rows_per_part: int, *, engine: bool) -> list[str]:
    options = ["--in-table", "reviews", "--field", "body", "--rows-per-part", str(rows_per_part)]
    if engine:
        program = [sys.executable, "-m", "sentq_worker", "score", url, "--out", url, *options]
        return [*program, "--progress", "none"]
    return [sys.executable, "-m", "tests.support.databases.kills", "--run", url, str(rows_per_part)]


def _run(url: str, rows_per_part: str) -> None:
    run_by_rule(url, url, in_table="reviews", field="body", rows_per_part=int(rows_per_part))


def main() -> Any:
    """Run one process, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rows-per-part", type=int, default=8192)
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--engine", action="store_true")
    parser.add_argument("--run", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        return _run(*options.run)
    with postgresql_server() as server:
        told = kill_runs(
            server,
            rows=options.rows,
            rows_per_part=options.rows_per_part,
            kills=options.kills,
            engine=options.engine,
        )
        by_rule = options.engine or labels_by_rule(server)
    sys.stdout.write("".join(f"{name}: {value}\n" for name, value in told._asdict().items()))
    is_once = {told.rows} == {told.scored, told.writes, told.written, told.same}
    sys.stdout.write(f"each row stored once: {is_once and by_rule}\n")
    return None if is_once and by_rule else 1


if __name__ == "__main__":
    sys.exit(main())
