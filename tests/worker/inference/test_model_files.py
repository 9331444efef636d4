"""The files of a model: from the Hub, from its cache, or from a folder.

Calls of the Hub run in separate processes, because huggingface_hub reads HF_ENDPOINT and HF_HOME
once, when it is imported.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from sentq_worker.engine.base import ModelUnavailable
from sentq_worker.inference.model import LocalEngine
from sentq_worker.inference.model_files import ModelFiles, find_model
from tests.support.hub_server import HubServer, files_of

_FIND = """
import json, resource, sys
if limit := int(sys.argv[2]):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
from sentq_worker.engine.base import EngineError
from sentq_worker.inference.model_files import find_model
try:
    found = find_model(*json.loads(sys.argv[1]))
    print(json.dumps({"found": [str(found.folder), found.name, found.revision]}))
except EngineError as error:
    print(json.dumps({"refused": [type(error).__name__, str(error)]}))
"""

#: The time limit of a start that cannot get its model.
_TIME_LIMIT_S = 60


@dataclass(frozen=True)
class Machine:
    """A machine with its own cache, and the address of a Hub."""

    hub_url: str
    home: Path
    #: The largest size of a file; 0 for no limit.
    file_limit_bytes: int = 0

    def find(self, model: str, revision: str | None = None) -> ModelFiles:
        folder, name, found = self._find_in_process(model, revision)["found"]
        return ModelFiles(Path(folder), name, found)

    def error_of(self, model: str, revision: str | None = None) -> str:
        """Return the error message for this model."""
        kind, message = self._find_in_process(model, revision)["refused"]
        assert kind == "ModelUnavailable"
        return str(message)

    def _find_in_process(self, model: str, revision: str | None) -> dict[str, list[str]]:
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.upper().startswith(("HF_", "HUGGING", "TRANSFORMERS_"))
        }
        own = {
            "HF_ENDPOINT": self.hub_url,
            "HF_HOME": str(self.home),
            "HF_HUB_ETAG_TIMEOUT": "2",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                _FIND,
                json.dumps([model, revision]),
                str(self.file_limit_bytes),
            ],
            env=inherited | own,
            capture_output=True,
            text=True,
            timeout=_TIME_LIMIT_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        reply: dict[str, list[str]] = json.loads(done.stdout)
        return reply


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer() as hub:
        yield hub


@pytest.fixture
def machine(hub: HubServer, tmp_path: Path) -> Machine:
    return Machine(hub.url, tmp_path / "home")


@pytest.fixture(scope="module")
def files(tiny_model: Path) -> dict[str, bytes]:
    return files_of(tiny_model)


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that a test may change."""
    copy = tmp_path / "copy"
    shutil.copytree(tiny_model, copy)
    return copy


# --- From the Hub --------------------------------------------------------------------------


@pytest.mark.slow
def test_the_revision_of_a_hub_model_is_the_commit_of_its_branch(
    hub: HubServer, machine: Machine, files: dict[str, bytes]
) -> None:
    first = hub.commit("owner/tiny", files)
    assert machine.find("owner/tiny").revision == first
    second = hub.commit("owner/tiny", files | {"README.md": b"A second commit."})
    found = machine.find("owner/tiny")
    assert (found.name, found.revision) == ("owner/tiny", second)
    assert (found.folder / "README.md").read_text() == "A second commit."


@pytest.mark.slow
def test_a_branch_a_tag_and_a_commit_may_be_named(
    hub: HubServer, machine: Machine, files: dict[str, bytes]
) -> None:
    old = hub.commit("owner/tiny", files)
    hub.tag("owner/tiny", "v1", old)
    trial = hub.commit("owner/tiny", files | {"README.md": b"A trial."}, branch="trial")
    hub.commit("owner/tiny", files | {"README.md": b"The last one."})
    assert machine.find("owner/tiny", "v1").revision == old
    assert machine.find("owner/tiny", old).revision == old
    assert machine.find("owner/tiny", "trial").revision == trial


def test_only_what_the_model_needs_is_downloaded(
    hub: HubServer, machine: Machine, files: dict[str, bytes]
) -> None:
    unwanted = {
        "onnx/model.onnx": b"another format",
        "onnx/config.json": b"{}",
        "pytorch_model.bin": b"a pickle",
        "modeling_own.py": b"raise SystemExit('this ran')",
    }
    hub.commit("owner/tiny", files | unwanted)
    found = machine.find("owner/tiny")
    assert sorted(files_of(found.folder)) == sorted(files)
    assert sorted(hub.downloaded()) == sorted(files)


def test_a_downloaded_model_is_loaded_and_reports_its_commit(
    hub: HubServer, machine: Machine, files: dict[str, bytes]
) -> None:
    commit = hub.commit("owner/tiny", files)
    engine = _load(machine.find("owner/tiny"))
    assert (engine.info.model, engine.info.revision) == ("owner/tiny", commit)
    assert engine.info.labels == ("negative", "neutral", "positive")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "revision"),
    [("owner/nothing", None), ("owner/tiny", "no-such-branch"), ("owner/tiny", "0" * 40)],
)
def test_a_model_missing_on_the_hub_is_named(
    hub: HubServer, machine: Machine, files: dict[str, bytes], model: str, revision: str | None
) -> None:
    hub.commit("owner/tiny", files)
    message = machine.error_of(model, revision)
    assert f"the Hub has no {model} at {revision or 'its main branch'}" in message


def test_a_gated_model_says_what_to_do(
    hub: HubServer, machine: Machine, files: dict[str, bytes]
) -> None:
    hub.commit("owner/gated", files, gated=True)
    message = machine.error_of("owner/gated")
    assert "gated" in message
    assert "HF_TOKEN" in message


def test_pickled_weights_are_neither_downloaded_nor_accepted(
    hub: HubServer, machine: Machine, files: dict[str, bytes]
) -> None:
    pickled = {name: data for name, data in files.items() if name != "model.safetensors"}
    hub.commit("owner/pickled", pickled | {"pytorch_model.bin": b"a pickle"})
    assert "safetensors" in machine.error_of("owner/pickled")
    assert "pytorch_model.bin" not in hub.downloaded()


# --- From the cache ------------------------------------------------------------------------


@pytest.mark.slow
def test_a_cached_model_needs_no_hub(
    hub: HubServer, machine: Machine, files: dict[str, bytes]
) -> None:
    commit = hub.commit("owner/tiny", files)
    online = machine.find("owner/tiny")
    hub.switch_off()
    assert machine.find("owner/tiny") == online
    assert machine.find("owner/tiny", commit) == online


@pytest.mark.slow
def test_a_cached_model_is_not_downloaded_again(
    hub: HubServer, machine: Machine, files: dict[str, bytes]
) -> None:
    hub.commit("owner/tiny", files)
    machine.find("owner/tiny")
    fetched = len(hub.downloaded())
    machine.find("owner/tiny")
    assert len(hub.downloaded()) == fetched


def test_a_model_without_hub_and_cache_fails_quickly(hub: HubServer, machine: Machine) -> None:
    hub.switch_off()
    message = machine.error_of("owner/tiny")
    assert "the Hub cannot be reached" in message
    assert "not cached" in message


def test_a_cache_that_cannot_be_written_is_named(
    hub: HubServer, machine: Machine, files: dict[str, bytes]
) -> None:
    hub.commit("owner/tiny", files)
    machine.home.mkdir()
    (machine.home / "hub").write_text("this is no folder")
    message = machine.error_of("owner/tiny")
    assert f"cannot be kept in the cache {machine.home}" in message
    assert "HF_HOME" in message


def test_a_full_disk_is_reported(hub: HubServer, machine: Machine, files: dict[str, bytes]) -> None:
    hub.commit("owner/tiny", files)
    message = replace(machine, file_limit_bytes=2000).error_of("owner/tiny")
    assert f"cannot be kept in the cache {machine.home}" in message
    assert "free some space" in message


def test_a_commit_without_hub_and_cache_fails_quickly(hub: HubServer, machine: Machine) -> None:
    hub.switch_off()
    assert "the Hub cannot be reached" in machine.error_of("owner/tiny", "0" * 40)


@pytest.mark.slow
def test_a_cached_model_is_loaded_when_the_hub_never_replies(
    hub: HubServer, machine: Machine, files: dict[str, bytes]
) -> None:
    hub.commit("owner/tiny", files)
    online = machine.find("owner/tiny")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert Machine(url, machine.home).find("owner/tiny") == online


# --- From a folder -------------------------------------------------------------------------


def test_the_revision_of_a_folder_changes_only_with_its_weights(
    folder: Path,
) -> None:
    before = find_model(str(folder)).revision
    (folder / "README.md").write_text("About this model.")
    (folder / "config.json").touch()
    assert find_model(str(folder)).revision == before
    weights = folder / "model.safetensors"
    weights.write_bytes(_with_last_byte_changed(weights.read_bytes()))
    after = find_model(str(folder)).revision
    assert after != before
    assert after.startswith("sha256:")


def test_the_revision_of_a_folder_does_not_depend_on_its_path(
    folder: Path, tiny_model: Path
) -> None:
    assert find_model(str(folder)).revision == find_model(str(tiny_model)).revision


@pytest.mark.parametrize("missing", ["model.safetensors", "config.json"])
def test_an_incomplete_model_folder_is_rejected_with_the_missing_file(
    folder: Path, missing: str
) -> None:
    (folder / missing).unlink()
    with pytest.raises(ModelUnavailable, match=r"config\.json and \*\.safetensors"):
        find_model(str(folder))


def test_an_unreadable_folder_is_reported(tiny_model: Path) -> None:
    with TemporaryDirectory(dir="/tmp") as place:  # Open to other users.
        folder = Path(place, "model")
        shutil.copytree(tiny_model, folder)
        (folder / "config.json").chmod(0)
        folder.chmod(0)
        user = os.geteuid()
        if user == 0:
            Path(place).chmod(0o755)
            os.seteuid(65534)
        try:
            with pytest.raises(ModelUnavailable, match="let the worker's user read the model"):
                find_model(str(folder))
        finally:
            os.seteuid(user)
            folder.chmod(0o700)


def test_a_folder_with_a_revision_is_rejected(folder: Path) -> None:
    with pytest.raises(ModelUnavailable, match="a revision is for models of the Hub"):
        find_model(str(folder), "main")


@pytest.mark.parametrize("model", ["./no-such-folder", "/no/such/folder", "tiny", "a/b/c"])
def test_a_name_that_is_neither_a_folder_nor_a_hub_id_is_rejected(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelUnavailable, match="neither a folder nor a Hub id"):
        find_model(model)


@pytest.mark.parametrize("model", ["owner/with space", "owner/two..dots", "owner/" + 100 * "x"])
def test_an_invalid_hub_id_is_rejected_without_a_request(model: str) -> None:
    with pytest.raises(ModelUnavailable):
        find_model(model)


# --- Loading -------------------------------------------------------------------------------


@pytest.mark.parametrize("model_type", ["bert", "of-its-own"])
def test_code_in_a_model_repository_never_runs(
    folder: Path, tmp_path: Path, model_type: str
) -> None:
    marker = tmp_path / "it-ran"
    (folder / "own.py").write_text(f"open({str(marker)!r}, 'w').close()\n")
    classes = {"AutoConfig": "own.Config", "AutoModelForSequenceClassification": "own.Model"}
    _edit(folder / "config.json", model_type=model_type, auto_map=classes)
    if model_type == "bert":
        _load(find_model(str(folder)))  # Transformers' own code can load it.
    else:
        with pytest.raises(ModelUnavailable, match="cannot be loaded"):
            _load(find_model(str(folder)))
    assert not marker.exists()


def _cut_short(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])


def _without_head(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in weights.items() if "classifier" not in name}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})


def _of_another_size(folder: Path) -> None:
    _edit(folder / "config.json", hidden_size=64)


def _without_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()


@pytest.mark.parametrize(
    "damage", [_cut_short, _without_head, _of_another_size, _without_tokenizer]
)
def test_an_incomplete_model_is_rejected(folder: Path, damage: Callable[[Path], None]) -> None:
    damage(folder)
    with pytest.raises(ModelUnavailable):
        _load(find_model(str(folder)))


def _load(files: ModelFiles) -> LocalEngine:
    return LocalEngine(files, device="cpu", dtype="auto", threads=1)


def _edit(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def _with_last_byte_changed(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])
