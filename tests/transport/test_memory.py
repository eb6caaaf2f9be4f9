"""The order of stores, sleeping on a word, and learning of a death: what collectives in shared memory stand on."""

from __future__ import annotations

import ctypes
import mmap
import os
import subprocess
import sys
import threading
import time

import pytest

from cobre.testing import litmus
from cobre.transport import futex
from cobre.transport.control import started_at
from cobre.transport.fence import Fence
from cobre.transport.watch import Deathwatch


@pytest.fixture
def word() -> ctypes.c_uint32:
    return ctypes.c_uint32.from_buffer(mmap.mmap(-1, mmap.PAGESIZE))


def test_stores_are_seen_in_order_and_whole() -> None:
    verdict = litmus.run(3.0)
    assert verdict.rounds > 1000
    assert (verdict.stale, verdict.torn, verdict.unseen) == (0, 0, 0), verdict


def test_the_litmus_program_sees_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = litmus._Pair.message

    def flag_before_data(pair: litmus._Pair) -> None:
        number = pair.round + 1
        pair.my_turn.value = number << 32 | number
        os.sched_yield()
        wrong(pair)

    monkeypatch.setattr(litmus._Pair, "message", flag_before_data)
    assert litmus.run(0.5).stale > 0


def test_a_fence_can_be_passed_any_number_of_times() -> None:
    fence = Fence()
    for _ in range(1000):
        fence()


def test_a_sleeper_is_woken_and_does_not_sleep_on_a_changed_word(word: ctypes.c_uint32) -> None:
    futex.wait(word, 1, 60.0)  # it is 0: no sleep
    woken = threading.Event()

    def sleep() -> None:
        while word.value == 0:
            futex.wait(word, 0, 60.0)
        woken.set()

    thread = threading.Thread(target=sleep)
    thread.start()
    assert not woken.wait(0.05)
    word.value = 1
    futex.wake(word)
    assert woken.wait(10.0)
    thread.join()


def test_a_sleep_ends_with_its_time(word: ctypes.c_uint32) -> None:
    began = time.monotonic()
    futex.wait(word, 0, 0.05)
    assert time.monotonic() - began >= 0.04 or not futex.AVAILABLE


def test_a_death_is_told_once_and_the_watch_leaves_nothing() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    deaths: list[int] = []
    told = threading.Event()

    def on_death(rank: int) -> None:
        deaths.append(rank)
        told.set()

    watch = Deathwatch({5: (child.pid, started_at(child.pid)), 6: (os.getpid(), 0)}, on_death)
    assert not watch.dead
    child.kill()
    assert told.wait(10.0)
    assert watch.dead == {5}
    child.communicate()
    watch.close()
    watch.close()
    assert deaths == [5]


def test_a_process_that_is_gone_or_another_by_now_counts_as_dead() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    watch = Deathwatch({1: (child.pid, 1), 2: (os.getppid(), 1)}, lambda rank: None)
    assert watch.dead == {1, 2}
    watch.close()
