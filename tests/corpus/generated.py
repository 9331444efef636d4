"""Generated input: texts, jobs, and valid messages with changes.

`GENERATED_INPUTS` is the variable for their number, `GENERATED_SEED` chooses others. `make faults`
generates more.
"""

from __future__ import annotations

import bz2
import copy
import json
import lzma
import os
import zlib
from collections.abc import Callable
from typing import Any, Final

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.corpus.expected import CANARY
from tests.corpus.messages import body_of, message, protocol1, raw
from tests.corpus.texts import TEXTS

__all__ = ["INPUTS", "SEED", "examples", "json_values", "messages", "repeatable", "texts"]

INPUTS: Final = int(os.environ.get("GENERATED_INPUTS", "2000"))

#: Hypothesis also draws constants from the modules that are imported, so inputs of one seed can
#: differ between a whole run and a single file.
SEED: Final = int(os.environ.get("GENERATED_SEED", "1"))


def repeatable(count: int, *, shrinks: bool = True) -> settings:
    """Return hypothesis' settings for this number of examples, the same in each run."""
    return settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink] if shrinks else [Phase.generate],
    )


def examples(strategy: st.SearchStrategy[bytes], count: int) -> list[bytes]:
    """Return `count` unique examples, to send together; one by one they take ten times as long."""
    found: dict[bytes, None] = {}

    def collect(example: bytes) -> None:
        found[example] = None

    seed(SEED)(repeatable(count * 5 // 4, shrinks=False)(given(strategy)(collect)))()
    assert len(found) >= count
    return list(found)[:count]


#: Hypothesis leaves surrogates out unless no category is excluded.
_ANY_CHARACTER: Final = st.characters(exclude_categories=())

_CURATED: Final = st.sampled_from(
    [case.text for case in TEXTS if isinstance(case.text, str) and len(case.text) < 1000]
)

texts: Final = st.one_of(
    st.text(_ANY_CHARACTER, max_size=100),
    st.text(st.characters(categories=("Cc", "Cf", "Mn", "Zs", "So")), max_size=50),
    st.builds("".join, st.lists(_CURATED, max_size=4)),
    st.builds(str.__mul__, st.text(_ANY_CHARACTER, max_size=5), st.integers(0, 500)),
)

_SCALARS: Final = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=20),
    _CURATED,
    st.sampled_from(["", "0", "sentq", "sentq.score", "celery", "json", "base64", "zlib"]),
    st.sampled_from([CANARY, "2001-01-01T00:00:00+00:00", "9999-12-31T23:59:59Z", "0001-01-01"]),
)

json_values: Final = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


_COMPRESSORS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "zlib": zlib.compress,
    "bzip2": bz2.compress,
    "lzma": lzma.compress,
}


def _plain(job_id: str, some: list[Any]) -> dict[str, Any]:
    return message(body_of(*some), job_id=job_id)


def _celerys_path(job_id: str, some: list[Any]) -> dict[str, Any]:
    return message(body_of(*some), job_id=job_id, headers={"retries": 1})


def _compressed(job_id: str, some: list[Any], method: str) -> dict[str, Any]:
    body = _COMPRESSORS[method](body_of(*some).encode())
    return message(body, job_id=job_id, headers={"compression": method})


def _protocol1(job_id: str, some: list[Any]) -> dict[str, Any]:
    return protocol1(id=job_id, args=[some])


def _job(job_id: str, *parts: Any) -> dict[str, Any]:
    return message(json.dumps(parts), job_id=job_id)


_ids: Final = st.uuids().map(str)


_some_texts: Final = st.lists(texts | json_values, min_size=1, max_size=5)

#: Messages that a worker can score, in each of Celery's forms.
_valid: Final = st.one_of(
    st.builds(_plain, _ids, _some_texts),
    st.builds(_celerys_path, _ids, _some_texts),
    st.builds(_compressed, _ids, _some_texts, st.sampled_from(sorted(_COMPRESSORS))),
    st.builds(_protocol1, _ids, _some_texts),
)

_jobs: Final = st.builds(
    _job,
    _ids,
    st.lists(json_values, max_size=3) | json_values,
    st.dictionaries(st.sampled_from(["texts", "text", ""]), json_values) | json_values,
    st.dictionaries(st.sampled_from(["callbacks", "errbacks", "chain", "chord"]), json_values),
)

#: Optional headers and properties of clients and workers.
_MORE_NAMES: Final = (
    *("compression", "redelivered", "shadow", "origin", "replaced_task_nesting", "x"),
    *("sentq_deadline_ms", "sentq_deliveries", "sentq_alone", "sentq_local_only", "sentq_detail"),
    *("sentq_first_error", "sentq_last_error", "sentq_key"),
)


def _places(whole: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of each value in a document."""
    inner = whole.items() if isinstance(whole, dict) else enumerate(whole)
    found = []
    for key, value in inner:
        found.append((*path, key))
        if isinstance(value, (dict, list)):
            found += _places(value, (*path, key))
    return found


@st.composite
def _mutated(draw: st.DrawFn) -> bytes:
    """Draw a valid message with up to three values replaced, removed, added or copied."""
    whole = copy.deepcopy(draw(_valid))
    for _ in range(draw(st.integers(1, 3))):
        places = _places(whole)
        *path, key = draw(st.sampled_from(places))
        parent = whole
        for step in path:
            parent = parent[step]
        match draw(st.sampled_from(["replace", "remove", "add", "copy"])):
            case "replace":
                parent[key] = draw(json_values)
            case "remove":
                del parent[key]
            case "add" if isinstance(parent, dict):
                parent[draw(st.sampled_from(_MORE_NAMES))] = draw(json_values)
            case "copy":
                source: Any = whole
                for step in draw(st.sampled_from(places)):
                    if not isinstance(source, (dict, list)) or not _has(source, step):
                        break
                    source = source[step]
                parent[key] = copy.deepcopy(source)
        if not whole:
            break
    return json.dumps(whole).encode()


def _has(container: Any, key: Any) -> bool:
    return key in container if isinstance(container, dict) else key < len(container)


@st.composite
def _damaged(draw: st.DrawFn) -> bytes:
    """Draw a valid message with bytes changed, deleted, inserted or repeated."""
    data = bytearray(raw(draw(_valid)))
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 12)))
        match draw(st.sampled_from(["change", "delete", "insert", "repeat", "truncate"])):
            case "change":
                data[start:end] = draw(st.binary(min_size=end - start, max_size=end - start))
            case "delete":
                del data[start:end]
            case "insert":
                data[start:start] = draw(st.binary(max_size=12))
            case "repeat":
                data[start:start] = data[start:end]
            case "truncate":
                del data[start:]
    return bytes(data)


messages: Final[st.SearchStrategy[bytes]] = st.one_of(
    st.binary(max_size=100),
    json_values.map(lambda value: json.dumps(value).encode()),
    _valid.map(raw),
    _jobs.map(raw),
    _mutated(),
    _mutated(),
    _damaged(),
)
