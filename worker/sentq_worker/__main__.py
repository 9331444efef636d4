"""The command `sentq-worker`, also as `python -m sentq_worker`."""

from __future__ import annotations

import sys

from sentq_worker.exit_codes import EX_USAGE
from sentq_worker.extras import install_advice
from sentq_worker.garbage import without_garbage_collection

__all__ = ["main"]


def main() -> None:
    """Run the command. If a package of the worker is missing, say in one line what to install."""
    if sys.argv[1:2] == ["health"]:
        # Without the rest of the command, whose imports take longer than this does.
        from sentq_worker import health

        sys.exit(health.main(sys.argv[2:]))
    try:
        with without_garbage_collection():
            from sentq_worker.cli import main as run
        run()
    except ModuleNotFoundError as error:
        advice = install_advice(error, sys.argv[1:])
        if advice is None:
            raise
        sys.stderr.write(f"sentq-worker: {advice}\n")
        sys.exit(EX_USAGE)


if __name__ == "__main__":
    main()
