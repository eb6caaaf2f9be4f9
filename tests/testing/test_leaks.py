"""The proof that nothing is left behind must itself notice each kind of leak."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from cobre.testing.leaks import Snapshot, assert_no_leaks, snapshot
from cobre.transport.segment import Segment


def _leak(before: Snapshot, word: str) -> None:
    with pytest.raises(AssertionError, match=word):
        assert_no_leaks(before, timeout=0.02)


def test_nothing_happened() -> None:
    before = snapshot()
    assert [leak for leak in snapshot().beyond(before) if not leak.startswith("segments")] == []  # others make those
    assert_no_leaks(before, timeout=0.0, segment_timeout=90.0)


def test_a_thread_is_noticed_and_named() -> None:
    before, done = snapshot(), threading.Event()
    thread = threading.Thread(target=done.wait, name="left alone")
    thread.start()
    try:
        _leak(before, "threads: left alone")
    finally:
        done.set()
        thread.join()
    assert_no_leaks(before)


def test_a_process_is_noticed_dead_or_alive() -> None:
    before = snapshot()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        _leak(before, f"processes: .*pid {child.pid}")
        assert child.stdin is not None
        child.stdin.close()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # a zombie from here on
        _leak(before, f"processes: .*pid {child.pid}")
    assert_no_leaks(before)


def test_a_descriptor_is_noticed() -> None:
    before = snapshot()
    if not before.descriptors:
        pytest.skip("this system does not list descriptors")
    read, write = os.pipe()
    try:
        _leak(before, "descriptors: .*pipe")
    finally:
        os.close(read)
        os.close(write)
    assert_no_leaks(before)


def test_a_temporary_file_of_ours_is_noticed_and_others_are_not() -> None:
    before = snapshot()
    with tempfile.TemporaryDirectory(prefix="cobre-"):
        _leak(before, "files: .*cobre-")
    with tempfile.NamedTemporaryFile(prefix="other-") as file:
        os.close(os.dup(file.fileno()))
        assert snapshot().files == before.files


def test_a_segment_is_noticed() -> None:
    if not Path("/dev/shm").is_dir():
        pytest.skip("no /dev/shm here")
    before = snapshot()
    segment = Segment.make(f"cobre-test-{os.getpid()}", 1)  # held: another test's sweep may pass meanwhile
    try:
        _leak(before, "segments: ")
    finally:
        segment.release_name()
    del segment
    assert_no_leaks(before)


def test_another_runs_segment_is_given_its_own_time() -> None:
    if not Path("/dev/shm").is_dir():
        pytest.skip("no /dev/shm here")
    segment = Path("/dev/shm") / f"cobre-test-{os.getpid()}"
    later = threading.Timer(0.5, segment.unlink)
    before = snapshot()
    segment.write_bytes(b"x")
    later.start()
    before = replace(before, threads=snapshot().threads)
    assert_no_leaks(before, timeout=0.02, segment_timeout=60.0)
    assert not segment.exists()
    later.join()
