"""Datasets of the Hub, from a local Hub.

Calls of the Hub run in separate processes, because huggingface_hub reads HF_ENDPOINT and HF_HOME
once, when it is imported.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from pyarrow import parquet

from sentq_worker.training.data.hub_dataset import DatasetId
from tests.support.hub_server import HubServer

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

_READ = """
import json, sys
from pathlib import Path
from sentq.errors import SentqError
from sentq_worker.training.data.rows import read_rows
for argument in sys.argv[1:]:
    try:
        rows = read_rows(Path(argument))
        print(json.dumps([rows.name, rows.texts, rows.labels]))
    except SentqError as error:
        print(json.dumps(f"{type(error).__name__}: {error}"))
"""

_BRANCH = "refs/convert/parquet"

#: The time limit of a start and a few requests.
_A_FEW_SECONDS = 30


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer() as hub:
        yield hub


@pytest.fixture
def read(hub: HubServer, tmp_path: Path) -> Callable[..., list[object]]:
    """Return a function that reads sources with an own cache: their rows, or the error."""

    def read(*sources: str) -> list[object]:
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.upper().startswith(("HF_", "HUGGING"))
        }
        own = {
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(tmp_path / "home"),
            "HF_HUB_ETAG_TIMEOUT": "2",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }
        done = subprocess.run(
            [sys.executable, "-c", _READ, *sources],
            env=inherited | own,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=_A_FEW_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    return read


def shard(*texts: str) -> bytes:
    """Return a Parquet file of positive rows, with numbered classes as `datasets` writes them."""
    feature = {"names": ["negative", "positive"], "_type": "ClassLabel"}
    table = pa.table({"text": list(texts), "label": [1] * len(texts)})
    metadata = {"huggingface": json.dumps({"info": {"features": {"label": feature}}})}
    stream = io.BytesIO()
    parquet.write_table(table.replace_schema_metadata(metadata), stream)
    return stream.getvalue()


def commit(
    hub: HubServer, repo: str, files: Mapping[str, Sequence[str]], *, gated: bool = False
) -> None:
    content = {name: shard(*texts) for name, texts in files.items()}
    hub.commit(f"datasets/{repo}", content, branch=_BRANCH, gated=gated)


def test_only_the_shards_of_a_split_are_downloaded(
    hub: HubServer, read: Callable[..., list[object]]
) -> None:
    files = {
        "default/test/0001.parquet": ["third"],
        "default/test/0000.parquet": ["first", "second"],
        "default/train/0000.parquet": ["unwanted"],
    }
    commit(hub, "owner/reviews", files)
    (found,) = read("owner/reviews:test")
    assert found == ["owner/reviews:test", ["first", "second", "third"], ["positive"] * 3]
    assert sorted(hub.downloaded()) == ["default/test/0000.parquet", "default/test/0001.parquet"]


def test_a_single_config_or_split_is_implied_and_several_are_listed(
    hub: HubServer, read: Callable[..., list[object]]
) -> None:
    commit(hub, "owner/single", {"plain/train/0000.parquet": ["a"]})
    many = {
        f"{config}/{split}/0000.parquet": [f"{config} {split}"]
        for config in ("de", "en")
        for split in ("train", "test")
    }
    commit(hub, "owner/many", many)
    sources = read(
        "owner/single",
        "owner/many:en:test",
        "owner/many",
        "owner/many:en:dev",
        "owner/many:fr:test",
        "owner/single:train",
    )
    assert sources[0] == ["owner/single", ["a"], ["positive"]]
    assert sources[1] == ["owner/many:en:test", ["en test"], ["positive"]]
    for found, message in zip(
        sources[2:5],
        [
            "several configs; say which, as owner/many:CONFIG:SPLIT: it has de, en",
            "no split dev: it has test, train",
            "no config fr: it has de, en",
        ],
        strict=True,
    ):
        assert str(found).startswith("TrainingDataError: ")
        assert message in str(found)
    assert sources[5] == ["owner/single:train", ["a"], ["positive"]]


def test_a_cached_dataset_is_read_without_the_hub(
    hub: HubServer, read: Callable[..., list[object]]
) -> None:
    commit(hub, "owner/reviews", {"default/test/0000.parquet": ["kept"]})
    before = read("owner/reviews:test")
    hub.switch_off()
    assert read("owner/reviews:test") == before
    (found,) = read("owner/others:test")
    assert "the Hub cannot be reached, and nothing of it is cached" in str(found)


def test_an_error_of_the_hub_is_reported_with_advice(
    hub: HubServer, read: Callable[..., list[object]]
) -> None:
    commit(hub, "owner/gated", {"default/test/0000.parquet": ["a"]}, gated=True)
    hub.commit("datasets/owner/unconverted", {"data.csv": b"text,label\n"})
    hub.commit("datasets/owner/empty", {"README.md": b""}, branch=_BRANCH)
    sources = read(
        "owner/gated:test",
        "owner/unconverted:test",
        "owner/empty:test",
        "owner/none:test",
        "owner/bad..name",
    )
    for found, message in zip(
        sources,
        [
            "owner/gated is gated: accept its terms, then set HF_TOKEN",
            "no Parquet form of owner/unconverted: download it, and give its files instead",
            "no Parquet form of owner/empty",
            "there is no file owner/none, and the Hub has no such dataset",
            "it is not a valid dataset id either",
        ],
        strict=True,
    ):
        assert str(found).startswith("TrainingDataError: ")
        assert message in str(found)


def test_an_existing_file_is_never_requested_from_the_hub(
    hub: HubServer, read: Callable[..., list[object]], tmp_path: Path
) -> None:
    (tmp_path / "owner").mkdir()
    (tmp_path / "owner" / "rows.jsonl").write_text('{"text": "a", "label": "b"}\n')
    sources = read("owner/rows.jsonl", "owner/none.csv")
    assert sources[0] == ["rows.jsonl", ["a"], ["b"]]
    assert "No such file" in str(sources[1])
    assert hub.requests == []


def test_a_dataset_id_is_an_owner_and_a_name() -> None:
    assert DatasetId.parse("owner/name") == DatasetId("owner/name")
    assert DatasetId.parse("owner/name:test") == DatasetId("owner/name", None, "test")
    assert DatasetId.parse("owner/name:en:test") == DatasetId("owner/name", "en", "test")
    for argument in ("name", "/name", "./name", "a/b/c", "owner/name:", "owner/name:a:b:c"):
        assert DatasetId.parse(argument) is None
