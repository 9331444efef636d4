"""How much memory a process may use."""

from __future__ import annotations

from pathlib import Path

from sentq_worker.inference.memory import free_memory_bytes, memory_limit_bytes


def _write(file: Path, content: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)


def test_the_limit_is_the_least_of_all_control_groups_and_the_machine(tmp_path: Path) -> None:
    assert memory_limit_bytes(tmp_path) is None
    _write(tmp_path / "proc/meminfo", "MemTotal:        4000 kB\nMemFree:         1000 kB\n")
    assert memory_limit_bytes(tmp_path) == 4_096_000
    _write(tmp_path / "proc/self/cgroup", "0::/pods/one\n")
    _write(tmp_path / "sys/fs/cgroup/pods/one/memory.max", "max\n")
    assert memory_limit_bytes(tmp_path) == 4_096_000
    _write(tmp_path / "sys/fs/cgroup/pods/memory.max", "3000000\n")
    assert memory_limit_bytes(tmp_path) == 3_000_000
    _write(tmp_path / "proc/self/cgroup", "9:memory:/docker/abc\n0::/\n")
    _write(tmp_path / "sys/fs/cgroup/memory/memory.limit_in_bytes", "2000000\n")
    assert memory_limit_bytes(tmp_path) == 2_000_000


def test_free_memory_is_the_least_of_the_machine_and_each_group_without_caches(
    tmp_path: Path,
) -> None:
    assert free_memory_bytes(tmp_path) is None
    _write(tmp_path / "proc/meminfo", "MemTotal: 9000 kB\nMemAvailable: 5000 kB\n")
    assert free_memory_bytes(tmp_path) == 5_120_000
    _write(tmp_path / "proc/self/cgroup", "0::/inner\n")
    group = tmp_path / "sys/fs/cgroup/inner"
    _write(group / "memory.max", "4000000\n")
    _write(group / "memory.current", "3000000\n")
    assert free_memory_bytes(tmp_path) == 1_000_000
    _write(group / "memory.stat", "anon 2000000\nfile 500000\n")
    assert free_memory_bytes(tmp_path) == 1_500_000
    _write(group / "memory.max", "max\n")
    assert free_memory_bytes(tmp_path) == 5_120_000
