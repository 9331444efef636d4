"""What trials have found is kept for the next start, and used only where it fits."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from sentq.contract import Limits
from sentq_worker.engine.base import Window
from sentq_worker.inference.model import LocalEngine
from sentq_worker.inference.model_files import find_model
from sentq_worker.inference.trials import cache, cpu
from sentq_worker.inference.trials.cache import Choice, TrialCache, inputs_of_machine
from sentq_worker.inference.trials.kernels import Way
from sentq_worker.providers.loading import load_scorer
from sentq_worker.settings import WorkerSettings
from tests.support.models.tiny import make_tiny_model

_CHOICE = Choice(form="packed", kernel="onednn", dtype="bfloat16")
_OTHER = Choice(form="packed", kernel="torch", dtype="float32")
_INPUTS = {"processor": "x86_64", "model": "a"}
_FAST, _SLOW = Way("onednn", torch.bfloat16), Way("torch", torch.float32)
_TIMES_S = {_FAST: 0.25, _SLOW: 1.5}


def _of_two_starts(folder: Path) -> tuple[TrialCache, Path]:
    kept = TrialCache(folder, _INPUTS)
    kept.write(_CHOICE, _TIMES_S)
    kept.write(_CHOICE, _TIMES_S)
    (file,) = folder.iterdir()
    return kept, file


def test_a_choice_is_used_once_two_starts_have_measured(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "trials"
    kept = TrialCache(folder, _INPUTS)
    assert kept.read() is None
    kept.write(_OTHER, _TIMES_S)
    assert kept.read() is None
    kept.write(_CHOICE, _TIMES_S)
    assert kept.read() == TrialCache(folder, dict(reversed(_INPUTS.items()))).read() == _CHOICE
    assert len(list(folder.iterdir())) == 1


def test_the_least_time_of_each_way_counts(tmp_path: Path) -> None:
    kept = TrialCache(tmp_path, _INPUTS)
    assert kept.least(_TIMES_S) == _TIMES_S
    kept.write(_CHOICE, _TIMES_S)
    assert kept.least({_FAST: 9.0, _SLOW: 1.0}) == {_FAST: 0.25, _SLOW: 1.0}
    # A way that is not possible now is not one that was possible once.
    assert kept.least({_SLOW: 2.0}) == {_SLOW: 1.5}


@pytest.mark.parametrize("inputs", [_INPUTS | {"model": "b"}, _INPUTS | {"more": ""}, {}])
def test_a_choice_is_not_used_for_other_inputs(inputs: dict[str, str], tmp_path: Path) -> None:
    _, file = _of_two_starts(tmp_path)
    assert TrialCache(tmp_path, inputs).read() is None
    TrialCache(tmp_path, inputs).write(_OTHER, _TIMES_S)
    (other,) = set(tmp_path.iterdir()) - {file}
    other.write_bytes(file.read_bytes())  # a name that does not fit its inputs
    assert TrialCache(tmp_path, inputs).read() is None


def _changed(text: str, **entries: Any) -> str:
    document = json.loads(text)
    for name, value in entries.items():
        place, _, key = name.rpartition("__")
        (document[place] if place else document)[key] = value
    return json.dumps(document)


@pytest.mark.parametrize(
    "changes",
    [
        {"choice__kernel": "os.system"},
        {"choice__dtype": "set_num_threads"},
        {"choice__form": "another"},
        {"choice__more": 1},
        {"choice": None},
        {"times": [{"kernel": "onednn", "dtype": "bfloat16", "s": "fast"}]},
        {"times": [{"kernel": "onednn", "dtype": "int4", "s": 1.0}]},
        {"times": [{"kernel": "onednn", "dtype": "bfloat16", "s": float("nan")}]},
        {"starts": "2"},
        {"starts": 1},
        {"inputs__model": "b"},
        {"more": 1},
    ],
)
def test_a_file_with_other_content_is_not_used(changes: dict[str, Any], tmp_path: Path) -> None:
    kept, file = _of_two_starts(tmp_path)
    assert kept.read() == _CHOICE
    file.write_text(_changed(file.read_text(), **changes))
    assert kept.read() is None


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b" " * 100_000, b"null"])
def test_a_damaged_file_is_not_used_and_is_replaced(content: bytes, tmp_path: Path) -> None:
    kept, file = _of_two_starts(tmp_path)
    file.write_bytes(content)
    assert kept.read() is None
    kept.write(_CHOICE, _TIMES_S)
    kept.write(_CHOICE, _TIMES_S)
    assert kept.read() == _CHOICE


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="a system without POSIX permissions")
def test_a_file_that_others_may_have_written_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, file = _of_two_starts(tmp_path)
    assert not file.stat().st_mode & 0o077
    for mode, known in [(0o644, _CHOICE), (0o664, None), (0o646, None)]:
        file.chmod(mode)
        assert kept.read() == known
    file.chmod(0o600)
    monkeypatch.setattr(os, "getuid", lambda: file.stat().st_uid + 1)
    assert kept.read() is None


def test_a_folder_that_cannot_be_used_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    kept = TrialCache(tmp_path / "file" / "trials", _INPUTS)
    kept.write(_CHOICE, _TIMES_S)
    assert kept.read() is None
    _, file = _of_two_starts(tmp_path / "kept")
    file.unlink()
    file.mkdir()  # where the file should be
    kept = TrialCache(tmp_path / "kept", _INPUTS)
    kept.write(_CHOICE, _TIMES_S)
    assert kept.read() is None
    assert list((tmp_path / "kept").iterdir()) == [file], "a temporary file stayed"


def test_the_inputs_name_what_trials_depend_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    before = inputs_of_machine()
    assert before == inputs_of_machine()
    assert str(torch.__version__) in before["torch"]
    assert before["threads"] == str(torch.get_num_threads())
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert inputs_of_machine() != before
    monkeypatch.undo()
    monkeypatch.setattr(cache, "_processor", lambda: "another")
    assert inputs_of_machine() != before


_WINDOWS = [Window([2, *range(10, 10 + length), 3], length) for length in (1, 5, 5, 20)]


def _start(model: Path, folder: Path, *, dtype: str = "auto") -> list[list[float]]:
    engine = LocalEngine(
        find_model(str(model)),
        device="cpu",
        dtype=dtype,
        threads=torch.get_num_threads(),
        trial_folder=folder,
    )
    assert not engine.pads
    return engine.predict(_WINDOWS)


def test_the_third_start_makes_no_trials_and_scores_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, folder = make_tiny_model(tmp_path / "model"), tmp_path / "trials"
    other = make_tiny_model(tmp_path / "other", seed=1)
    times_s = iter([{Way("onednn", torch.float32): 1.0}] * 2)
    monkeypatch.setattr(cpu, "time_kernels", lambda *_: next(times_s))
    first = _start(model, folder)
    assert _start(model, folder) == first
    assert _start(model, folder) == first
    for again in (partial(_start, model, folder, dtype="float32"), partial(_start, other, folder)):
        with pytest.raises(StopIteration):  # trials again
            again()


def test_a_start_that_was_misled_is_corrected_by_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, folder = make_tiny_model(tmp_path / "model"), tmp_path / "trials"
    fast, slow = Way("torch", torch.float32), Way("torch", torch.bfloat16)
    measured = iter([{fast: 5.0, slow: 1.5}, {fast: 1.0, slow: 2.0}])
    monkeypatch.setattr(cpu, "time_kernels", lambda *_: next(measured))
    files = find_model(str(model))
    chosen = [
        LocalEngine(files, device="cpu", threads=1, trial_folder=folder).info.dtype
        for _ in range(3)
    ]
    assert chosen == ["bfloat16", "float32", "float32"]


def test_nothing_is_kept_if_the_settings_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    model = str(make_tiny_model(tmp_path / "model"))
    load_scorer(WorkerSettings.load(model=model, keep_trials=False), Limits())
    assert not (tmp_path / "cache").exists()
    load_scorer(WorkerSettings.load(model=model), Limits())
    assert len(list((tmp_path / "cache" / "sentq" / "trials").iterdir())) == 1
