"""Score a file of any length: one text per line in, one JSON object per line out.

`Client.map` reads at most 2,048 lines ahead of what it has returned, so memory stays bounded. A
line that cannot be scored has its error in its place, and the other lines are not affected.

With `sentq dev` running and SENTQ_BROKER_URL set as it printed:

    $ printf 'Loved every minute of it.\\n\\nThe lid is loose and it leaks.\\n' > reviews.txt
    $ python examples/stream_a_file.py reviews.txt
    {"line": 1, "label": "positive", "score": 0.95}
    {"line": 2, "error": "empty_text", "message": "there is nothing to score in this text"}
    {"line": 3, "label": "negative", "score": 0.9}
    stream_a_file: 2 lines scored, 1 not

    $ grep lid reviews.txt | python examples/stream_a_file.py > scores.jsonl
    stream_a_file: 1 lines scored, 0 not

Exit codes: 0 when every line was scored, 1 when some were not, 2 when the file cannot be read,
3 when Redis cannot be reached or gives no result in time.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TextIO

from sentq import Client, Outcome, Prediction, SentqError


def main() -> int:
    """Score the lines of the file that the command line names; return the exit code."""
    parser = argparse.ArgumentParser(description="Score each line of a file.")
    parser.add_argument("file", nargs="?", default="-", help="default: standard input")
    parser.add_argument("--timeout", type=float, default=60, help="seconds to wait for a job")
    options = parser.parse_args()
    try:
        with open_lines(options.file) as lines:
            return score_lines(lines, timeout_s=options.timeout)
    except BrokenPipeError:
        # The reader of the output has ended, as `head` does. Python must not flush to it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except SentqError as error:
        print(f"stream_a_file: {error}", file=sys.stderr)
        return 3
    except OSError as error:
        print(f"stream_a_file: cannot read {options.file}: {error.strerror}", file=sys.stderr)
        return 2


def open_lines(name: str) -> TextIO:
    """Open a file, or standard input. What is not UTF-8 becomes an error in its place."""
    if name == "-":
        return os.fdopen(sys.stdin.fileno(), encoding="utf-8", errors="surrogateescape")
    return Path(name).open(encoding="utf-8", errors="surrogateescape")


def score_lines(lines: TextIO, *, timeout_s: float) -> int:
    """Write one JSON line for each line; return the exit code."""
    scored = failed = 0
    texts = (line.rstrip("\n") for line in lines)  # Read only as far ahead as `map` needs.
    with Client() as client:
        for number, outcome in enumerate(client.map(texts, timeout=timeout_s), start=1):
            print(json.dumps({"line": number} | as_row(outcome)))
            scored += isinstance(outcome, Prediction)
            failed += not isinstance(outcome, Prediction)
    sys.stdout.flush()
    print(f"stream_a_file: {scored:,} lines scored, {failed:,} not", file=sys.stderr)
    return 1 if failed else 0


def as_row(outcome: Outcome) -> dict[str, object]:
    """Return the fields of an outcome that this program prints."""
    if isinstance(outcome, Prediction):
        return {"label": outcome.label, "score": round(outcome.score, 2)}
    return {"error": outcome.code, "message": outcome.message}


if __name__ == "__main__":
    sys.exit(main())
