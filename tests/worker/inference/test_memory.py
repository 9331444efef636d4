"""How much memory a process may use."""

from __future__ import annotations

from pathlib import Path

from sentq_worker.inference.memory import memory_limit_bytes


def test_the_limit_is_the_least_of_all_control_groups_and_the_machine(tmp_path: Path) -> None:
    def write(name: str, content: str) -> None:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)

    assert memory_limit_bytes(tmp_path) is None
    write("proc/meminfo", "MemTotal:        4000 kB\nMemFree:         1000 kB\n")
    assert memory_limit_bytes(tmp_path) == 4_096_000
    write("proc/self/cgroup", "0::/pods/one\n")
    write("sys/fs/cgroup/pods/one/memory.max", "max\n")
    assert memory_limit_bytes(tmp_path) == 4_096_000
    write("sys/fs/cgroup/pods/memory.max", "3000000\n")
    assert memory_limit_bytes(tmp_path) == 3_000_000
    write("proc/self/cgroup", "9:memory:/docker/abc\n0::/\n")
    write("sys/fs/cgroup/memory/memory.limit_in_bytes", "2000000\n")
    assert memory_limit_bytes(tmp_path) == 2_000_000
