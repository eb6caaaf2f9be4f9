"""What runs beside ``cobre.testing.ranks``: the process that forks ranks, and a rank itself.

A fresh interpreter that imports numpy and a transport takes hundreds of milliseconds; a fork of one that has imported
them, and has one thread and no state, takes a few. So one process, the host, is started as usual and forks on request.
"""

from __future__ import annotations

import array
import contextlib
import faulthandler
import gc
import importlib
import os
import pickle
import signal
import socket
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, NoReturn

__all__ = ["host", "make_communicator", "resolve", "tell"]

_PRELOADED = ("numpy", "zmq", "cobre.transport.select", "cobre.transport.local")
_BACKENDS = ("cobre.transport.shm", "cobre.transport.tcp")
_PATIENCE = 5.0  # seconds in which a process that closed its connection has ended
_connection: Connection | None = None  # to the test; one a process, and a rank is a process


def host(descriptor: int, preload: tuple[str, ...]) -> None:
    """Forks a rank for each request that arrives on the socket ``descriptor``, until the other end is closed.

    preload: modules that ranks will need; imported once, here. Whatever it forked is gone when it returns.
    """
    os.putenv("OPENBLAS_NUM_THREADS", "1")  # a fork must find one thread
    for module in (*_PRELOADED, *preload):
        importlib.import_module(module)
    for module in _BACKENDS:
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    gc.collect()
    gc.freeze()  # ranks then have next to nothing to look through
    control = socket.socket(fileno=descriptor)
    control.sendall(b"ready")
    children: set[int] = set()
    with control, contextlib.suppress(ConnectionError):
        while True:
            request, ancillary, _, _ = control.recvmsg(256, socket.CMSG_SPACE(2 * array.array("i").itemsize))
            if not request:
                break
            verb, _, number = request.partition(b" ")
            if verb == b"fork":
                answer = _fork(control, ancillary)
                children.add(answer)
            else:
                children.discard(int(number))
                answer = _reap(int(number))
            control.sendall(str(answer).encode())
    for pid in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for pid in children:
        os.waitpid(pid, 0)


def _fork(control: socket.socket, ancillary: list[tuple[int, int, bytes]]) -> int:
    descriptors = array.array("i")
    for _, _, data in ancillary:
        descriptors.frombytes(data)
    pid = os.fork()
    if pid == 0:
        control.close()
        _rank(*descriptors)
    for descriptor in descriptors:
        os.close(descriptor)
    return pid


def _reap(pid: int) -> int:
    """How the child ended, as ``subprocess`` says it: an exit code, or a signal as a negative number."""
    deadline = time.monotonic() + _PATIENCE
    while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.0005)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _rank(descriptor: int, stacks: int) -> NoReturn:
    """The life of a rank, from its fork to its exit."""
    global _connection
    code = 1
    try:
        faulthandler.enable(stacks)
        faulthandler.register(signal.SIGUSR1, stacks, all_threads=True)
        _connection = Connection(descriptor)
        _serve(_connection)
        code = 0
    except BaseException:
        os.write(stacks, traceback.format_exc().encode())
    finally:
        os._exit(code)  # what the host registered to be done at its exit is none of a rank's business


def _serve(connection: Connection) -> None:
    held: list[Any] = []
    while True:
        try:
            message = connection.recv_bytes()
        except (EOFError, ConnectionError):  # the test has closed the group, or is no more
            break
        began = time.monotonic()
        try:
            verb, function, arguments, settings = pickle.loads(message)
            data = _success(_obey(verb, held, resolve(function), arguments, settings), began)
        except BaseException as error:
            data = _failure(error, time.monotonic() - began)
        function = arguments = settings = None
        gc.collect()  # what an error's frames held would look like something that is still in use
        connection.send_bytes(data)
    for communicator in held:
        communicator.close()


def _obey(verb: str, held: list[Any], function: Callable[..., Any], arguments: Any, settings: Any) -> Any:
    if verb == "call":
        return function(*held[:1], *arguments)
    if not settings.pop("keep"):
        for communicator in held:
            communicator.close()
        held.clear()
    held.insert(0, function(*arguments, **settings, **({"announce": tell} if verb == "found" else {})))
    return None


def _success(value: Any, began: float) -> bytes:
    return pickle.dumps(("returned", value, "", time.monotonic() - began))


def _failure(error: BaseException, seconds: float) -> bytes:
    text = "".join(traceback.format_exception(error))
    chain: BaseException | None = error
    while chain is not None:
        traceback.clear_frames(chain.__traceback__)
        chain = chain.__cause__ or chain.__context__
    try:
        data = pickle.dumps(("raised", error, text, seconds))
        pickle.loads(data)
    except Exception:
        data = pickle.dumps(("raised", RuntimeError(f"{type(error).__name__}: {error}"), text, seconds))
    return data


def make_communicator(make: str | Callable[..., Any], wrapper: str | Callable[..., Any] | None, **settings: Any) -> Any:
    """What ``make(**settings)`` returns, or what ``wrapper`` makes of that."""
    communicator = resolve(make)(**settings)
    return communicator if wrapper is None else resolve(wrapper)(communicator)


def resolve(function: str | Callable[..., Any]) -> Callable[..., Any]:
    """``module:name`` as what it names; anything else as it is. Raises ImportError, AttributeError."""
    if not isinstance(function, str):
        return function
    module, _, name = function.partition(":")
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found  # type: ignore[no-any-return]


def tell(value: Any) -> None:
    """Called by a function that runs on a rank: ``RankGroup.hear`` returns ``value`` while the function goes on."""
    if _connection is None:
        raise RuntimeError("tell: this process is no rank of a RankGroup")
    _connection.send_bytes(pickle.dumps(("told", value, "", 0.0)))
