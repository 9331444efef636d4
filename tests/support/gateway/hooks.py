"""What schemathesis cannot know of the gateway: the lines of uploads, and rules of several values.

It imports this module by its name (`SCHEMATHESIS_HOOKS`).
"""

from __future__ import annotations

import csv
import io
import json
import re
from itertools import count
from typing import Any, Final

import schemathesis
from hypothesis import strategies as st

from sentq.webhooks.network.targets import MAX_URL_CHARS

__all__ = ["RECEIVER", "let_valid_requests_be_accepted"]

#: The one receiver that may be called. No server listens there.
RECEIVER: Final = "http://127.0.0.1:9/hook"

_VALID_KEY: Final = re.compile(r"[!#-~]{1,240}")

#: Requests follow the job to its end.
_LONGEST_DELAY_S: Final = 1.0

_numbers: Final = count()

_TEXTS: Final = st.lists(st.text(max_size=50), min_size=1, max_size=20)


def _csv(texts: list[str]) -> bytes:
    file = io.StringIO()
    writer = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerows([["text"], *([text] for text in texts)])
    return file.getvalue().encode()


def _json_lines(texts: list[str]) -> bytes:
    return b"".join(json.dumps(text).encode() + b"\n" for text in texts)


schemathesis.openapi.media_type("text/csv", _TEXTS.map(_csv))
schemathesis.openapi.media_type("application/x-ndjson", _TEXTS.map(_json_lines))
schemathesis.openapi.media_type("application/jsonl", _TEXTS.map(_json_lines))


@schemathesis.hook("before_call")
def let_valid_requests_be_accepted(_context: Any, case: Any, _kwargs: dict[str, Any]) -> None:
    """Change what a schema cannot say: two valid requests have not one idempotency key, a job is
    due before its deadline and soon, the CSV has the column that the query names, and the operator
    allows one receiver."""
    key = (case.headers or {}).get("Idempotency-Key")
    if isinstance(key, str) and _VALID_KEY.fullmatch(key):
        case.headers["Idempotency-Key"] = f"{key}-{next(_numbers)}"
    if isinstance(case.body, dict) and isinstance(case.body.get("delay_s"), (int, float)):
        case.body["delay_s"] = min(case.body["delay_s"], _LONGEST_DELAY_S)
        case.body.pop("deadline_s", None)
    for values in (case.body, case.query):
        if isinstance(values, dict) and isinstance(url := values.get("callback_url"), str):
            values["callback_url"] = RECEIVER if len(url) <= MAX_URL_CHARS else url
    if case.media_type == "text/csv" and isinstance((case.query or {}).get("field"), str):
        case.query["field"] = "text"
