"""Generated requests against a running gateway: schemathesis with all of its checks.

    python -m tests.support.gateway.cases --examples 400

starts a Redis, a worker and a gateway, sends cases that are made from the OpenAPI document, valid
and invalid ones, and fails if a response has a status of 5xx, or is not as the document describes.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final, NamedTuple

from sentq import Settings
from tests.support.gateway.keys import with_new_key
from tests.support.gateway.process import GatewayProcess
from tests.support.missing import redis_program
from tests.support.processes import RedisProcess, WorkerProcess
from tests.support.webhooks.deliveries import webhook_environment

__all__ = ["VARIABLES", "CasesRun", "run_cases"]

#: Requests wait for outcomes for a moment only: some cases are sent for later.
VARIABLES: Final = {
    "SENTQ_GATEWAY_DEFAULT_WAIT_S": "1",
    "SENTQ_GATEWAY_MAX_WAIT_S": "1",
    # That of the hooks, which this process does not import: they register with schemathesis.
    **webhook_environment("http://127.0.0.1:9"),
}

_ROOT: Final = Path(__file__).parents[3]

_HOOKS: Final = "tests.support.gateway.hooks"

#: Cases that break a limit by their size get status 413.
_CONFIG: Final = """\
[auth.openapi.key]
bearer = "{key}"

[checks]
negative_data_rejection.expected-statuses = [400, 401, 404, 405, 413, 415, 422]
"""

_GENERATED: Final = re.compile(r"(\d[\d,]*) generated")


class CasesRun(NamedTuple):
    """What schemathesis found.

    Attributes:
        code: Its exit code; 0 if all checks passed.
        cases: How many cases were sent.
        output: What it printed.
    """

    code: int
    cases: int
    output: str


def run_cases(gateway: GatewayProcess, folder: Path, *, examples: int, key: str) -> CasesRun:
    """Send generated cases to a gateway.

    Args:
        gateway: The gateway.
        folder: The configuration of schemathesis is written there.
        examples: Most cases of each operation, in each phase.
        key: The key of the requests, but of those that have another one, or none, as a case.
    """
    config = folder / "schemathesis.toml"
    config.write_text(_CONFIG.format(key=key))
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(config)),
            *("run", f"{gateway.url}/openapi.json"),
            # DELETE cancels a job; that it was cancelled can still be read.
            *("--checks", "all", "--exclude-checks", "use_after_free"),
            *("--max-examples", str(examples), "--seed", "1"),
            *("--request-timeout", "30", "--no-color", "--generation-database", "none"),
        ],
        # It keeps what it found in the folder in which it runs.
        cwd=folder,
        env=os.environ | {"SCHEMATHESIS_HOOKS": _HOOKS, "PYTHONPATH": str(_ROOT), "COLUMNS": "120"},
        capture_output=True,
        text=True,
        check=False,
    )
    output = done.stdout + done.stderr
    found = _GENERATED.search(output)
    cases = int(found[1].replace(",", "")) if found else 0
    return CasesRun(done.returncode, cases, output)


def main() -> None:
    """Run Redis, a worker, a gateway, and the cases."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--examples", type=int, default=400, help="most cases of an operation")
    examples: int = parser.parse_args().examples
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server = RedisProcess(redis_program(), folder).start()
        environment = {"SENTQ_BROKER_URL": server.url}
        worker = WorkerProcess(folder, environment, ("tests.support.workers.standin",))
        key = with_new_key(Settings.load(broker_url=server.url), "cases", "admin").key
        gateway = GatewayProcess(folder, server.url, **VARIABLES)
        try:
            worker.wait_until_ready()
            found = run_cases(gateway.wait_until_ready(), folder, examples=examples, key=key)
        finally:
            gateway.stop()
            worker.stop()
            server.stop()
        log = gateway.log
    sys.stdout.write(found.output)
    sys.stdout.write(
        f"\n{found.cases:,} cases; lines of the gateway's log: {log.count(chr(10)):,}\n"
    )
    unhandled = [line for line in log.splitlines() if "was not handled" in line]
    sys.stdout.write("\n".join(unhandled[:20]))
    sys.exit(found.code or bool(unhandled))


if __name__ == "__main__":
    main()
