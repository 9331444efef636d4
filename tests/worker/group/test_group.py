"""What a group of processes consists of, when they are restarted, and their merged metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sentq.errors import SettingsError
from sentq_worker.engine.base import DeviceUnavailable
from sentq_worker.exit_codes import EX_CONFIG
from sentq_worker.group.command import child_name
from sentq_worker.group.cores import UsableCores, core_groups, read_usable_cores
from sentq_worker.group.devices import FoundDevices
from sentq_worker.group.pages import merged
from sentq_worker.group.plan import ChildPlan, GroupPlan, is_group, plan_group
from sentq_worker.group.restarts import RestartPolicy, exit_code_of
from sentq_worker.settings import WorkerSettings

#: Four physical cores of two threads each.
_FOUR = UsableCores(((0, 4), (1, 5), (2, 6), (3, 7)))


def _plan(
    machine: UsableCores = _FOUR,
    found: FoundDevices = FoundDevices(),  # noqa: B008 - frozen
    *,
    uses_local_model: bool = True,
    **settings: Any,
) -> GroupPlan:
    return plan_group(
        WorkerSettings.load(**settings), machine, lambda: found, uses_local_model=uses_local_model
    )


def _labels(plan: GroupPlan) -> list[str]:
    return [child.label for child in plan.children]


def test_devices_and_processes_make_one_plan() -> None:
    two = FoundDevices(cuda=2)
    assert _plan(devices="cuda:0,cuda:3").children == (
        ChildPlan("cuda0", "cuda:0"),
        ChildPlan("cuda3", "cuda:3"),
    )
    assert _labels(_plan(found=two, devices="auto")) == ["cuda0", "cuda1"]
    assert _labels(_plan(found=two, devices="cuda", processes="auto")) == ["cuda0", "cuda1"]
    assert _labels(_plan(found=two, devices="cuda:1", processes=2)) == ["cuda1-0", "cuda1-1"]
    assert _labels(_plan(found=FoundDevices(has_mps=True), devices="auto")) == ["mps"]
    # Without devices, it is the one of a single worker.
    assert _labels(_plan(found=two, processes="2")) == ["cuda0-0", "cuda0-1"]
    assert _labels(_plan(found=two, processes="2", device="cuda")) == ["cuda-0", "cuda-1"]
    fallback = _plan(devices="auto", processes="auto")
    assert _labels(fallback) == ["cpu0", "cpu1", "cpu2", "cpu3"]
    assert "auto finds no GPU here" in fallback.notes[0]
    assert _labels(_plan(found=two, devices="auto", uses_local_model=False)) == ["cpu0"]
    with pytest.raises(DeviceUnavailable, match="torch finds none here"):
        _plan(devices="cuda")
    assert not is_group(WorkerSettings.load())
    assert not is_group(WorkerSettings.load(devices=",", processes="1"))
    assert is_group(WorkerSettings.load(processes="auto"))


def test_devices_that_do_not_fit_together_are_refused() -> None:
    for devices, problem in (
        ("cuda:0,cuda:0", "cuda:0 is named twice; for two processes on a device set processes"),
        ("cpu,cuda:0", "cpu cannot stand beside other kinds of devices"),
        ("auto,cuda:0", "auto cannot stand beside other kinds"),
        ("cuda,cuda:1", "cuda is all CUDA devices"),
        ("gpu0", "should match pattern"),
    ):
        with pytest.raises(SettingsError, match=problem):
            WorkerSettings.load(devices=devices)
    for processes in ("0", "-1", "many", "1000"):
        with pytest.raises(SettingsError, match="processes"):
            WorkerSettings.load(processes=processes)


def test_processes_on_a_cpu_have_cores_of_their_own() -> None:
    two = _plan(processes=2, device="cpu").children
    assert [sorted(child.cores or ()) for child in two] == [[0, 1, 4, 5], [2, 3, 6, 7]]
    assert [child.threads for child in two] == [2, 2], "a thread for each physical core"
    eight = _plan(processes=8, device="cpu").children
    assert sorted(core for child in eight for core in child.cores or ()) == list(range(8))
    assert {child.threads for child in eight} == {1}
    assert _plan(processes=2, device="cpu", threads=3).children[0].threads == 3
    large = UsableCores(tuple((core,) for core in range(20)))
    automatic = _plan(large, devices="cpu", processes="auto").children
    assert [len(child.cores or ()) for child in automatic] == [2, 3, 2, 3, 2, 3, 2, 3]
    too_many = _plan(processes=9, device="cpu")
    assert {(child.cores, child.threads) for child in too_many.children} == {(None, 1)}
    assert "9 processes share 4 cores" in too_many.notes[0]


def test_a_quota_limits_threads_and_binds_to_no_core() -> None:
    limited = UsableCores(_FOUR.cores, quota=2.5)
    plan = _plan(limited, devices="cpu", processes="auto")
    assert {(child.cores, child.threads) for child in plan.children} == {(None, 1)}
    assert len(plan.children) == 2
    assert "the limit of this container is 2.5 cores" in plan.notes[0]
    assert UsableCores(_FOUR.cores, quota=0.5).whole_cores == 1
    assert not UsableCores(_FOUR.cores, quota=8.0).is_limited
    assert core_groups(((0,), (1,), (2,)), 2) == [((0,),), ((1,), (2,))]


def test_the_quota_is_the_least_of_all_control_groups(tmp_path: Path) -> None:
    def write(name: str, text: str) -> None:
        (file := tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    assert read_usable_cores(tmp_path).quota is None
    write("proc/self/cgroup", "0::/pods/one\n")
    write("sys/fs/cgroup/pods/one/cpu.max", "max 100000\n")
    assert read_usable_cores(tmp_path).quota is None
    write("sys/fs/cgroup/pods/cpu.max", "150000 100000\n")
    assert read_usable_cores(tmp_path).quota == 1.5
    write("proc/self/cgroup", "4:cpu,cpuacct:/docker/abc\n0::/\n")
    write("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "50000\n")
    write("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n")
    assert read_usable_cores(tmp_path).quota == 0.5
    assert read_usable_cores().whole_cores >= 1


def test_restarts_back_off_and_end() -> None:
    policy = RestartPolicy(3)
    delays = [policy.delay_s(ran_s=1, return_code=70) for _ in range(4)]
    assert delays[3] is None
    for delay_s, most_s in zip(delays[:3], (1, 2, 4), strict=True):
        assert delay_s is not None
        assert most_s / 2 <= delay_s <= most_s
    assert policy.delay_s(ran_s=3600, return_code=-9) is not None, "its failures are forgotten"
    assert RestartPolicy(3).delay_s(ran_s=3600, return_code=EX_CONFIG) is None
    assert RestartPolicy(0).delay_s(ran_s=1, return_code=1) is None
    assert [exit_code_of(code) for code in (78, -9, 0)] == [78, 137, 69]


def test_series_of_all_processes_are_on_one_page() -> None:
    page = '# HELP a A.\n# TYPE a counter\na_total{b="c d"} 1.0\n# HELP e E.\n# TYPE e gauge\n'
    assert merged({"cpu0": page + "e 2.0\n", "cpu1": page}) == (
        "# HELP a A.\n# TYPE a counter\n"
        'a_total{process="cpu0",b="c d"} 1.0\na_total{process="cpu1",b="c d"} 1.0\n'
        '# HELP e E.\n# TYPE e gauge\ne{process="cpu0"} 2.0\n'
    )
    assert child_name("celery-4711@host", "cuda0") == "celery-4711-cuda0@host"
