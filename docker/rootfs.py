"""Make the files of an image: an environment, the Python that runs it, and the libraries of both.

    python docker/rootfs.py ENVIRONMENT ROOT MODULE...

An image needs no shell, no package manager, no pip, no compiler and no tests of packages. So the
last stage of a Dockerfile starts from nothing and gets ROOT, which has

- ENVIRONMENT (a venv), after what no program reads was removed from it, and with its modules
  compiled: all of small packages, and of large ones those that importing MODULE... loads. Compiled
  modules are not compared with their sources, so their times do not matter;
- the interpreter and its standard library, without the parts that need a display or pip;
- the shared libraries that `ldd` names for all of these, at the paths where they were;
- /etc with users, certificates, and how names are looked up;
- for scanners, what the package manager knows of the packages that these files came from.

It runs as root, in a stage of a Dockerfile, on anything like Debian.
"""

from __future__ import annotations

import compileall
import os
import py_compile
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

#: What no program reads, below site-packages: tests, and what compilers need.
_UNUSED: Final = (
    "**/tests",
    "**/*.pyi",
    "**/*.pyx",
    "**/*.pxd",
    "**/*.a",
    "**/*.h",
    "**/*.hpp",
    "pip*",
    "torch/include",
    "torch/share",
    "torch/test",
    "torch/lib/libtorchbind_test.so",
    "torch/lib/libjitbackend_test.so",
    "torch/lib/libbackend_with_compiler.so",
    "torch/lib/libaoti_custom_ops.so",
)

#: All but this file in torch/bin is a test or a compiler. Torch does not start without it.
_TORCH_PROGRAM: Final = "torch_shm_manager"

#: Packages of which a program loads a small part.
_LARGE: Final = ("mpmath", "networkx", "numpy", "pygments", "sympy", "torch", "transformers")

#: Parts of the standard library that need a display, pip, or a reader of documents.
_UNUSED_STANDARD: Final = {
    "__pycache__",
    "ensurepip",
    "idlelib",
    "lib2to3",
    "pydoc_data",
    "site-packages",
    "dist-packages",
    "test",
    "tkinter",
    "turtledemo",
}

_BUILD_FILE: Final = re.compile(r"config-3\.\d+.*|_tkinter\..*|.*\.pyc")

#: Of /etc and the like, what the interpreter and the C library read; where it is missing, nothing.
_SYSTEM_FILES: Final = (
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/nsswitch.conf",
    "/etc/os-release",
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/ssl/openssl.cnf",
    "/usr/lib/os-release",
    "/usr/lib/ssl",
    "/usr/share/zoneinfo",
)

#: The user of all images.
_USER: Final = "sentq:x:10001:10001::/home/sentq:/usr/sbin/nologin\n"
_GROUP: Final = "sentq:x:10001:\n"

_UNCHECKED: Final = py_compile.PycInvalidationMode.UNCHECKED_HASH


def main() -> None:
    """Make ROOT."""
    environment, root = (Path(each) for each in sys.argv[1:3])
    packages = environment / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages /= "site-packages"
    _remove_unused(packages)
    loaded = _loaded(environment / "bin" / "python", sys.argv[3:])
    _compile(packages, loaded)
    interpreter = _interpreter(environment)
    _copy_python(root, interpreter, loaded)
    copied = [interpreter.resolve(), *_copy_system_files(root)]
    _copy_tree(environment, root)
    copied += _copy_libraries(root, interpreter)
    _write_users(root)
    _write_packages(root, copied)


def _remove_unused(packages: Path) -> None:
    found = {path for pattern in _UNUSED for path in packages.glob(pattern)}
    found |= {path for path in packages.glob("torch/bin/*") if path.name != _TORCH_PROGRAM}
    for path in sorted(found):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _loaded(python: Path, modules: Iterable[str]) -> list[Path]:
    """Return the source files of all that importing these modules loads."""
    program = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]: importlib.import_module(name)\n"
        "for module in list(sys.modules.values()): print(getattr(module, '__file__', None))\n"
    )
    done = subprocess.run(
        [python, "-B", "-c", program, *modules], check=True, stdout=subprocess.PIPE, text=True
    )
    # Modules that torch makes without a file have a name in place of a path.
    paths = (Path(line) for line in done.stdout.splitlines() if line.endswith(".py"))
    return [path for path in paths if path.is_absolute()]


def _compile(packages: Path, loaded: Iterable[Path]) -> None:
    for path in sorted(packages.iterdir()):
        if path.name not in _LARGE and path.is_dir():
            compileall.compile_dir(path, quiet=2, invalidation_mode=_UNCHECKED)
        elif path.suffix == ".py":
            compileall.compile_file(path, quiet=2, invalidation_mode=_UNCHECKED)
    large = [packages / name for name in _LARGE]
    for source in loaded:
        if any(source.is_relative_to(folder) for folder in large):
            compileall.compile_file(source, quiet=2, invalidation_mode=_UNCHECKED)


def _interpreter(environment: Path) -> Path:
    """Return the program outside of an environment to which its `python` is a link."""
    path = environment / "bin" / "python"
    while path.is_relative_to(environment):
        path = path.parent / path.readlink()
    return path


def _copy_python(root: Path, interpreter: Path, loaded: Iterable[Path]) -> None:
    """Copy the interpreter and its standard library."""
    _copy(interpreter, root)
    standard = Path(sysconfig.get_path("stdlib"))
    target = root / standard.relative_to("/")

    shutil.copytree(standard, target, symlinks=True, ignore=_unused_standard, dirs_exist_ok=True)
    for source in loaded:
        # Those that every program loads; the others are compiled when they are needed.
        own = target / source.relative_to(standard) if source.is_relative_to(standard) else None
        if own is not None and own.is_file():
            py_compile.compile(str(own), dfile=str(source), quiet=2, invalidation_mode=_UNCHECKED)


def _unused_standard(_folder: str, names: list[str]) -> set[str]:
    return _UNUSED_STANDARD.intersection(names) | set(filter(_BUILD_FILE.fullmatch, names))


def _copy_system_files(root: Path) -> list[Path]:
    present = [Path(name) for name in _SYSTEM_FILES if Path(name).exists()]
    for path in present:
        if path.is_dir():
            _copy_tree(path, root)
        else:
            _copy(path, root)
    return present


def _copy_libraries(root: Path, interpreter: Path) -> list[Path]:
    """Copy what programs and libraries in ROOT are linked with; return what was copied."""
    linked = re.compile(r"(?:=> )?(/\S+) \(0x")
    programs = [interpreter.resolve(), *root.rglob("*.so"), *root.rglob("*.so.*")]
    programs += root.rglob(_TORCH_PROGRAM)
    needed: set[Path] = set()
    for program in programs:
        if program.is_file() and not program.is_symlink():
            # It says so if the file is not linked with anything.
            done = subprocess.run(
                ["ldd", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False
            )
            needed |= {Path(each) for each in linked.findall(done.stdout.decode())}
    system = {path for path in needed if not path.is_relative_to(root)}
    # Loaded when a name is looked up, by the C library before 2.34.
    system |= {each for path in system for each in path.parent.glob("libnss_[df]*.so.2")}
    outside = sorted(path for path in system if not (root / path.relative_to("/")).exists())
    for path in outside:
        _copy(path, root)
    return outside


def _copy(path: Path, root: Path) -> None:
    """Copy a file, and the files to which it is a link, at their own paths.

    Folders that are links, such as /lib, become links too.
    """
    real = path.parent.resolve()
    _link_folder(path.parent, root)
    target = root / real.relative_to("/") / path.name
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_symlink() or target.exists():
        return
    if path.is_symlink():
        target.symlink_to(path.readlink())
        _copy(real / path.readlink(), root)
    else:
        shutil.copy2(path, target)


def _link_folder(folder: Path, root: Path) -> None:
    for each in (folder, *folder.parents):
        link = root / each.relative_to("/")
        if each.is_symlink() and not link.is_symlink():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(each.readlink())


def _copy_tree(path: Path, root: Path) -> None:
    target = root / path.relative_to("/")
    shutil.copytree(path, target, symlinks=True, dirs_exist_ok=True)


def _write_users(root: Path) -> None:
    etc = root / "etc"
    (etc / "passwd").write_text("root:x:0:0:root:/root:/usr/sbin/nologin\n" + _USER)
    (etc / "group").write_text("root:x:0:\n" + _GROUP)
    for folder in ("home/sentq", "var/cache/sentq"):
        (root / folder).mkdir(parents=True)
        os.chown(root / folder, 10001, 10001)
    (root / "tmp").mkdir(mode=0o1777, exist_ok=True)
    (root / "tmp").chmod(0o1777)


def _write_packages(root: Path, copied: Iterable[Path]) -> None:
    """Say which packages the files came from, where scanners look in images like this."""
    if shutil.which("dpkg-query") is None:
        return
    folder = root / "var" / "lib" / "dpkg" / "status.d"
    folder.mkdir(parents=True)
    for package in sorted(set(_owners(copied))):
        done = subprocess.run(
            ["dpkg-query", "--status", package], check=True, stdout=subprocess.PIPE, text=True
        )
        (folder / package.partition(":")[0]).write_text(done.stdout)


def _owners(paths: Iterable[Path]) -> Iterator[str]:
    """Return the packages to which files belong; those that belong to none are left out."""
    names = {name for path in paths for name in (path, path.resolve())}
    done = subprocess.run(
        ["dpkg-query", "--search", *sorted(names)],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    for line in done.stdout.splitlines():
        if not line.startswith("diversion "):
            yield from (each.strip() for each in line.partition(": ")[0].split(","))


if __name__ == "__main__":
    main()
