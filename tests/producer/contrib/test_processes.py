"""An object for each process: made once, also by many threads, and anew after a fork."""

from __future__ import annotations

import gc
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from weakref import ref

import pytest

from sentq.contrib.processes import PerProcess


def _in_child(check: PerProcess[list[int]]) -> bytes:
    """Fork; return what the child's object holds."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        with suppress(BaseException):
            os.write(writer, str(check.get()[0]).encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(pid, 0)
    with os.fdopen(reader, "rb") as stream:
        return stream.read()


def test_many_threads_get_one_object() -> None:
    numbers, barrier = count(), threading.Barrier(8)
    each = PerProcess(lambda: next(numbers))

    def get() -> int:
        barrier.wait(20)
        return each.get()

    with ThreadPoolExecutor(8) as threads:
        found = [threads.submit(get) for _ in range(8)]
        assert {future.result() for future in found} == {0}


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_makes_its_own_object() -> None:
    each = PerProcess(lambda: [os.getpid()])
    assert each.get() == [os.getpid()]
    first, second = int(_in_child(each)), int(_in_child(each))
    assert len({first, second, os.getpid()}) == 3
    assert each.get() == [os.getpid()]


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_process_that_is_forked_while_a_thread_makes_the_object_makes_its_own() -> None:
    is_making, may_end = threading.Event(), threading.Event()
    parent = os.getpid()

    def make() -> list[int]:
        if os.getpid() == parent:
            is_making.set()
            may_end.wait(20)
        return [os.getpid()]

    each = PerProcess(make)
    thread = threading.Thread(target=each.get)
    thread.start()
    is_making.wait(20)
    try:
        assert int(_in_child(each)) != parent
    finally:
        may_end.set()
        thread.join()


def test_an_error_is_raised_to_the_caller_and_the_next_call_tries_again() -> None:
    outcomes = iter([ValueError("first"), None])

    def make() -> str:
        if error := next(outcomes):
            raise error
        return "made"

    each = PerProcess(make)
    with pytest.raises(ValueError, match="first"):
        each.get()
    assert each.get() == "made"


def test_a_popped_object_is_replaced_by_the_next_call() -> None:
    each = PerProcess(object)
    assert each.pop() is None
    first = each.get()
    assert each.pop() is first
    assert each.get() is not first


def test_what_is_not_used_any_more_is_freed() -> None:
    each = PerProcess(object)
    gone = ref(each)
    del each
    gc.collect()
    assert gone() is None
