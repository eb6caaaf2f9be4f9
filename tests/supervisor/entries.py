"""What supervised processes do in these tests. Imported by them, so it imports little."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from cobre.supervisor.child import ChildEnd

LONG = 600.0


def echo(end: ChildEnd) -> None:
    """Sends back what it gets; ends when asked to."""
    end.on_ask(lambda: end.calls.shutdown(0))
    end.ready()
    while data := end.calls.recv(65536):
        end.calls.sendall(data)


def tell(end: ChildEnd) -> None:
    """Sends back what Python says to each line, then sleeps until it is asked to end."""
    end.on_ask(lambda: end.calls.shutdown(0))
    end.ready()
    while data := end.calls.recv(65536):
        end.calls.sendall(repr(eval(data)).encode())


def hear(end: ChildEnd) -> None:
    """Sends back the control messages that it gets."""
    end.on_message(lambda message: end.calls.sendall(message + b"\n"))
    end.ready()
    end.stop_asked.wait()


def stubborn(end: ChildEnd) -> None:
    """Will not end for anybody."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    end.ready()
    while True:
        time.sleep(LONG)


def terminable(end: ChildEnd) -> None:
    """Hears no asking, but leaves SIGTERM to the system."""
    end.ready()
    while True:
        time.sleep(LONG)


def never_ready(end: ChildEnd) -> None:
    time.sleep(LONG)


def spin(end: ChildEnd) -> None:
    """Busy, without a beat."""
    end.board.busy = True
    end.ready()
    while True:
        pass


def beating(end: ChildEnd) -> None:
    """Busy, and says so."""
    end.board.busy = True
    end.ready()
    while not end.stop_asked.is_set():
        end.board.beat()
        time.sleep(0.01)


def waiting(end: ChildEnd) -> None:
    """Busy, but waits for others."""
    end.board.busy = end.board.waiting = True
    end.ready()
    end.stop_asked.wait()


def grow(end: ChildEnd) -> None:
    """Takes 200 MB, and keeps them."""
    end.ready()
    held = bytearray(b"x") * (200 << 20)
    end.stop_asked.wait()
    del held


def marking(end: ChildEnd) -> NoReturn:
    end.board.mark("stage", 17)
    end.board.mark("iteration", -3)
    end.board.waiting = True
    end.ready()
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("it was killed")


def exit_at_once(end: ChildEnd) -> None:
    os._exit(3)


def exit_politely(end: ChildEnd) -> None:
    sys.exit(4)


def come_back(end: ChildEnd) -> None:
    return


def fail(end: ChildEnd) -> None:
    raise ValueError("what went wrong")


def fail_when_asked(end: ChildEnd) -> None:
    end.ready()
    end.stop_asked.wait()
    raise ValueError("on the way out")


def crash(end: ChildEnd) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)
    time.sleep(LONG)


def abort(end: ChildEnd) -> None:
    os.abort()


def kill_itself(end: ChildEnd) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def real_time(end: ChildEnd) -> None:
    os.kill(os.getpid(), signal.SIGRTMIN + 3)


def talk(end: ChildEnd) -> None:
    """Writes 1 MB to stderr, and dies in the middle of a sentence."""
    for line in range(16384):
        os.write(2, b"%063d\n" % line)
    os.write(2, b"the last wo")
    os._exit(5)


def family(end: ChildEnd) -> None:
    """Has a child and a grandchild, and tells their numbers."""
    child = os.fork()
    if child == 0:
        grandchild = os.fork()
        if grandchild:
            end.calls.sendall(f"{os.getpid()} {grandchild}\n".encode())
        time.sleep(LONG)
        os._exit(0)
    end.ready()
    time.sleep(LONG)


def orphan(end: ChildEnd) -> None:
    """Leaves a process behind that holds all of its descriptors and never stops writing to stderr, and dies."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            end.calls.sendall(str(os.getpid()).encode())
            signal.signal(signal.SIGPIPE, signal.SIG_IGN)
            limit = time.monotonic() + 60.0  # in case the test forgets it
            while time.monotonic() < limit:
                try:
                    os.write(2, b"still here\n")
                except OSError:
                    time.sleep(0.05)
        os._exit(0)
    os.wait()
    end.ready()
    end.stop_asked.wait(LONG)
    os._exit(6)


def deaf_once(end: ChildEnd) -> None:
    """Its callbacks fail at first."""
    heard: list[bytes] = []

    def hear(message: bytes) -> None:
        heard.append(message)
        if len(heard) == 1:
            raise ValueError("not this one")
        end.calls.sendall(message)

    end.on_message(hear)
    end.ready()
    end.stop_asked.wait()
