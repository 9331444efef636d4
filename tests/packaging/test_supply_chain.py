"""The locks of the images, and the list of what a worker consists of."""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
LOCKS = sorted(DOCKER.glob("requirements-*.lock"))
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]


@dataclass(frozen=True)
class Entry:
    requirement: Requirement
    hashes: list[str]

    @property
    def name(self) -> NormalizedName:
        return canonicalize_name(self.requirement.name)


def _entries(file: Path) -> list[Entry]:
    lines = [line for line in file.read_text().splitlines() if not line.startswith("#")]
    entries = []
    for entry in "\n".join(lines).replace("\\\n", " ").splitlines():
        requirement, *options = re.split(r"\s+--", entry.strip())
        entries.append(Entry(Requirement(requirement), options))
    return entries


def _locked(*names: str) -> dict[NormalizedName, Requirement]:
    files = [DOCKER / f"requirements-{name}.lock" for name in names]
    return {each.name: each.requirement for file in files for each in _entries(file)}


def _direct(*extras: str) -> set[NormalizedName]:
    wanted = [*PROJECT["dependencies"], *(each for extra in extras for each in EXTRAS[extra])]
    return {canonicalize_name(Requirement(each).name) for each in wanted}


@pytest.mark.parametrize("file", LOCKS, ids=lambda file: file.stem)
def test_every_package_of_a_lock_has_one_version_and_hashes(file: Path) -> None:
    entries = _entries(file)
    assert entries
    assert len({each.name for each in entries}) == len(entries)
    for each in entries:
        assert re.fullmatch(r"==[\w.]+", str(each.requirement.specifier)), each.name
        assert each.hashes, each.name
        assert all(re.fullmatch(r"hash=sha256:[0-9a-f]{64}", one) for one in each.hashes)


def test_no_lock_names_a_registry() -> None:
    for file in LOCKS:
        text = file.read_text()
        assert "://" not in text
        assert "index" not in text


def test_the_locks_have_the_versions_of_the_constraints() -> None:
    pinned = {
        canonicalize_name(name): version
        for name, version in re.findall(
            r"^([\w.-]+)==(\S+)", (ROOT / "constraints.txt").read_text(), flags=re.MULTILINE
        )
    }
    for file in LOCKS:
        for each in _entries(file):
            expected = pinned.get(each.name)
            assert expected is None or str(each.requirement.specifier) == f"=={expected}", (
                f"{each.name} in {file.name}: run `make lock`"
            )


def test_the_locks_contain_what_the_images_install() -> None:
    worker = _locked("worker", "torch")
    assert _direct("worker", "flower", "encryption") <= set(worker), "run `make lock`"
    client = _direct("encryption", "metrics", "gateway", "webhooks")
    assert client <= set(_locked("producer")), "run `make lock`"
    assert _direct("encryption", "metrics", "hub") <= set(_locked("hub")), "run `make lock`"
    assert not {"torch", "transformers"} & set(_locked("hub"))
    assert "torch" not in _locked("worker"), "a build of torch for CPUs replaces its lock alone"


def _run(*command: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=170, cwd=cwd
    )


def _install(python: Path, *options: str | Path) -> subprocess.CompletedProcess[str]:
    return _run(python, "-m", "pip", "install", "--quiet", "--no-deps", *options)


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """The Python of an empty environment."""
    venv.create(tmp_path / "environment", with_pip=True)
    return tmp_path / "environment" / "bin" / "python"


@pytest.mark.slow
def test_the_producer_runs_with_only_what_its_lock_names(environment: Path, tmp_path: Path) -> None:
    lock = DOCKER / "requirements-producer.lock"
    done = _install(environment, "--require-hashes", "-r", lock)
    assert done.returncode == 0, done.stderr
    built = _run(
        *(sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", tmp_path, ROOT)
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("sentq-*.whl")
    assert _install(environment, wheel).returncode == 0
    checked = _run(environment, "-m", "pip", "check")
    assert checked.returncode == 0, checked.stdout
    assert _run(environment.parent / "sentq", "--help").returncode == 0


@pytest.mark.slow
def test_pip_refuses_a_file_whose_hash_is_not_in_the_lock(
    environment: Path, tmp_path: Path
) -> None:
    (entry,) = (
        each for each in _entries(DOCKER / "requirements-producer.lock") if each.name == "vine"
    )
    lock = tmp_path / "tampered.lock"
    lock.write_text(f"{entry.requirement} --hash=sha256:{'0' * 64}\n")
    done = _install(environment, "--require-hashes", "-r", lock)
    assert done.returncode != 0
    assert "DO NOT MATCH THE HASHES" in done.stderr


@pytest.mark.slow
@pytest.mark.long
def test_the_sbom_lists_direct_dependencies_with_versions_and_licences(tmp_path: Path) -> None:
    file = tmp_path / "sbom.cdx.json"
    done = _run(sys.executable, DOCKER / "sbom.py", sys.executable, file)
    assert done.returncode == 0, done.stderr
    document = json.loads(file.read_text())
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    components = {canonicalize_name(each["name"]): each for each in document["components"]}
    own = {canonicalize_name("sentq"), canonicalize_name("sentq-model")}
    direct = _direct("worker", "flower", "encryption") | own
    assert direct <= set(components)
    assert "pytest" not in components, "what only development needs is not in the image"
    for name in direct:
        component = components[name]
        assert component["version"] == importlib.metadata.version(name)
        # transformers' own metadata names no licence that SPDX knows.
        assert component.get("licenses") or name == "transformers"
    assert str(ROOT) not in file.read_text()
    listed = {each["bom-ref"] for each in document["components"]}
    assert all(set(each["dependsOn"]) <= listed for each in document["dependencies"])
