"""Objects to bytes and back: plain data by the C pickler, what the other end could not import by value.

Contiguous buffers of 64 KB and more (numpy's arrays) are not pickled: they are handed out beside the bytes.
"""

from __future__ import annotations

import io
import pickle
import sys
import threading
from typing import Any

from cobre.actors.blocks import OUT_OF_BAND

__all__ = ["ATOMS", "PROTOCOL", "Dumped", "Shareable", "dump", "dump_plain", "importable", "load", "plain"]

PROTOCOL = 5
ATOMS = frozenset({type(None), bool, int, float, complex, str, bytes})  # types that pickle the same everywhere
_MAIN = ("__main__", "__mp_main__")
_importable: dict[str, bool] = {}
_by_value_lock = threading.Lock()  # cloudpickle's list of modules to pickle by value is one for the process


class Dumped:
    """An object as bytes, the large buffers that go beside them, and the shared values that it refers to."""

    __slots__ = ("buffers", "payload", "shared")

    def __init__(self, payload: bytes, buffers: list[memoryview], shared: list[Any]) -> None:
        self.payload = payload
        self.buffers = buffers
        self.shared = shared

    @property
    def size(self) -> int:
        """Bytes in all."""
        return len(self.payload) + sum(buffer.nbytes for buffer in self.buffers)

    def clear(self) -> None:
        """It will not be sent again."""
        self.payload, self.buffers, self.shared = b"", [], []


class Shareable:
    """What is replaced by a number when it is sent (cobre.actors.references.Ref)."""

    def reduced(self) -> tuple[Any, ...]:
        """What the other end makes of it, in the terms of ``__reduce__``."""
        raise NotImplementedError


class _NeedsValue(Exception):
    """Something must be pickled by value: cloudpickle's work."""


class _Collector:
    """Takes the large buffers of a dump, and the shared values met on the way."""

    def __init__(self, in_band: bool) -> None:
        self.in_band = in_band
        self.buffers: list[memoryview] = []
        self.shared: list[Any] = []

    def buffer(self, found: pickle.PickleBuffer) -> bool:
        """The pickler's callback: true where the buffer is to stay in the bytes."""
        if self.in_band:
            return True
        view = found.raw()
        if view.nbytes < OUT_OF_BAND:
            return True
        self.buffers.append(view)
        return False

    def share(self, found: Shareable) -> tuple[Any, ...]:
        """Notes a shared value; what stands for it."""
        self.shared.append(found)
        return found.reduced()


class _Pickler(pickle.Pickler):
    """The C pickler, which gives up at the first thing that has to go by value."""

    def __init__(self, target: io.BytesIO, collector: _Collector) -> None:
        super().__init__(target, PROTOCOL, buffer_callback=collector.buffer)
        self._collector = collector

    def reducer_override(self, found: Any) -> Any:
        if isinstance(found, Shareable):
            return self._collector.share(found)
        if isinstance(found, type) or hasattr(found, "__code__"):
            if not importable(getattr(found, "__module__", None)) or "<" in getattr(found, "__qualname__", "<"):
                raise _NeedsValue
        elif type(found) is type(sys):
            raise _NeedsValue
        return NotImplemented


def plain(values: tuple[Any, ...]) -> bool:
    """Whether all of them are ATOMS."""
    for value in values:  # noqa: SIM110 - all() costs twice as much here, and every call comes by
        if type(value) not in ATOMS:
            return False
    return True


def dump_plain(value: Any) -> bytes:
    """The bytes of an object made of ATOMS in tuples, lists and dictionaries."""
    return pickle.dumps(value, PROTOCOL)


def dump(value: Any, in_band: bool = False) -> Dumped:
    """Any object. in_band: large buffers too are to stay in the bytes. Raises whatever its pickling raises."""
    collector, target = _Collector(in_band), io.BytesIO()
    try:
        _Pickler(target, collector).dump(value)
    except _NeedsValue:
        return _dump_by_value(value, in_band)
    except (pickle.PicklingError, AttributeError, TypeError):  # lambdas under other names, and the like
        return _dump_by_value(value, in_band)
    return Dumped(target.getvalue(), collector.buffers, collector.shared)


def _dump_by_value(value: Any, in_band: bool) -> Dumped:
    import cloudpickle  # costs too much for those who do without

    registered: list[Any] = []
    collector, target = _Collector(in_band), io.BytesIO()

    class ByValue(cloudpickle.Pickler):  # type: ignore[misc]
        def reducer_override(self, found: Any) -> Any:
            if isinstance(found, Shareable):
                return collector.share(found)
            name = found.__name__ if type(found) is type(sys) else getattr(found, "__module__", None)
            module = sys.modules.get(name) if isinstance(name, str) and name not in _MAIN else None
            if module is not None and module not in registered and not importable(name):
                cloudpickle.register_pickle_by_value(module)
                registered.append(module)
            return super().reducer_override(found)

    with _by_value_lock:
        try:
            ByValue(target, protocol=PROTOCOL, buffer_callback=collector.buffer).dump(value)
        finally:
            for module in registered:
                cloudpickle.unregister_pickle_by_value(module)
    return Dumped(target.getvalue(), collector.buffers, collector.shared)


def load(payload: bytes | memoryview, buffers: list[memoryview] | None = None) -> Any:
    """The object again. Raises whatever its unpickling raises."""
    return pickle.loads(payload, buffers=buffers or ())


def importable(name: str | None) -> bool:
    """Whether the process at the other end, whose search path is the same, would find this module where we have it."""
    if name is None or name in _MAIN:
        return False
    known = _importable.get(name)
    if known is None:
        known = _importable[name] = _found(name)
    return known


def _found(name: str) -> bool:
    if name.partition(".")[0] in sys.stdlib_module_names:
        return True
    module = sys.modules.get(name)
    if module is None:
        return False
    path, spec, whole = None, None, ""
    for part in name.split("."):
        whole = f"{whole}.{part}" if whole else part
        spec = _spec(whole, path)
        if spec is None:
            return path is not None  # a package's module that is no file: importing the package makes it
        path = spec.submodule_search_locations
    here = getattr(module, "__file__", None)
    return here is None or spec is None or spec.origin is None or _same(here, spec.origin)


def _spec(name: str, path: Any) -> Any:
    for finder in sys.meta_path:
        if type(finder).__module__.startswith("_pytest"):
            continue  # the other end will not have it
        find = getattr(finder, "find_spec", None)
        spec = None if find is None else find(name, path)
        if spec is not None:
            return spec
    return None


def _same(first: str, second: str) -> bool:
    import os

    try:
        return os.path.samefile(first, second)
    except OSError:
        return first == second
