"""What runs in the process that forks others: one thread, the imports that they need, and nothing else.

A request is a verb and a number, nine bytes; the answer is a number. ``forkserver`` has the other end.
"""

from __future__ import annotations

import array
import contextlib
import gc
import marshal
import os
import socket
import struct
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from cobre.supervisor import child

__all__ = ["ALIVE", "ANSWER", "FORK", "LOST", "REAP", "REQUEST", "run"]

REQUEST, ANSWER = struct.Struct("<cq"), struct.Struct("<q")
FORK, REAP = b"F", b"R"
ALIVE, LOST = 1 << 40, 1 << 41
"""Answers to REAP beside exit codes and negative signals: it has not ended; it is no child, or no more."""

_ENDS = 4  # descriptors that come with a FORK: control, calls, board, stderr


def run(order: Mapping[str, Any], control: int, parent: int) -> None:
    """Forks a process for each request until the other end is closed. In a forked process, that process's life.

    Signals stay blocked here, as they were when it was started: a terminal's Ctrl-C is none of its business.
    """
    child.die_with(parent, "cobre forks")
    for module in order["imports"]:
        with contextlib.suppress(Exception):  # the process that needs it will say what is wrong with it
            import_module(module)
    gc.collect()
    gc.freeze()  # a forked process then does not touch, and so not copy, the pages of what it never frees
    server = os.getpid()  # asked for after the fork, its parent could be another one already
    with socket.socket(fileno=control) as connection:
        descriptors = _serve(connection)
    if descriptors is not None:
        _become(server, *descriptors)


def _serve(connection: socket.socket) -> tuple[int, ...] | None:
    """None when the other end is closed; in a forked process, at once, its descriptors."""
    room = socket.CMSG_SPACE(_ENDS * array.array("i").itemsize)
    while True:
        request, ancillary, _, _ = connection.recvmsg(REQUEST.size, room)
        if not request:
            return None
        verb, number = REQUEST.unpack(request)
        if verb == REAP:
            connection.sendall(ANSWER.pack(_reap(number)))
            continue
        descriptors = array.array("i")
        for _, _, data in ancillary:
            descriptors.frombytes(data)
        try:
            answer = os.fork()
        except OSError as error:
            answer = -(error.errno or 1)
        if answer == 0:
            return tuple(descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        connection.sendall(ANSWER.pack(answer))


def _reap(pid: int) -> int:
    try:
        found, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return LOST
    return os.waitstatus_to_exitcode(status) if found else ALIVE


def _become(parent: int, control: int, calls: int, board: int, stderr: int) -> None:
    """The life of a forked process."""
    os.dup2(stderr, 2)
    os.close(stderr)
    order = marshal.loads(_take(control, int.from_bytes(_take(control, 4), "little")))
    child.adopt(order)
    child.run(order, control, calls, board, parent)


def _take(descriptor: int, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = os.read(descriptor, count - len(data))
        if not more:
            os._exit(child.ORPHANED)
        data += more
    return data
