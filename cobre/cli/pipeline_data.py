"""What a pipeline on the command line is fed with, and where its messages go."""

from __future__ import annotations

import json
import os
import re
import select
import sys
import threading
import wave
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cobre.errors import IOError, PipelineError
from cobre.transport.media import Audio, Video
from cobre.transport.message import Message

__all__ = ["Feed", "Sink", "feeds_of"]

_CHUNKS_A_SECOND = 50  # of sound: 20 ms each, as telephones send it
_LOOK = 0.2  # seconds
_SAFE = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True)
class Feed:
    """Messages for one entry port, read from ``source`` as they are asked for."""

    port: str
    source: str

    def read(self, stopped: threading.Event) -> Iterator[Any]:
        """The messages, until the source ends or ``stopped`` is set. Raises IOError where it cannot be read."""
        try:
            yield from _read(self.source, stopped)
        except (OSError, ValueError, wave.Error, EOFError) as error:
            message = f"{self.source} cannot be read: {error}"
            raise IOError(message, kind="ReadFailed", context={"path": self.source}) from error


def feeds_of(given: Sequence[str], ports: Sequence[str]) -> list[Feed]:
    """The values of ``--input``, each ``FILE`` or ``PORT=FILE``, for a pipeline whose entry ports are ``ports``.

    Raises PipelineError where a port is fed twice, is none, or is left without a file; IOError for a file that is not
    there.
    """
    feeds = [_feed(text, ports) for text in given]
    fed = [feed.port for feed in feeds]
    for feed in feeds:
        if feed.source != "-" and not Path(feed.source).is_file():
            message = f"{feed.source} is no file"
            raise IOError(message, kind="NotFound", context={"path": feed.source}, suggestion="check the path")
        if fed.count(feed.port) > 1:
            raise PipelineError(f"the port {feed.port} is fed twice", kind="DuplicateName", suggestion="join the files")
    left = [port for port in ports if port not in fed]
    if left:
        advice = f"give --input {left[0]}=FILE; see 'cobre pipeline run --help' for the kinds of files"
        raise PipelineError(f"nothing is given for the port {left[0]}", kind="DanglingPort", suggestion=advice)
    return feeds


def _feed(text: str, ports: Sequence[str]) -> Feed:
    port, sign, source = text.partition("=")
    if sign and port in ports:
        return Feed(port, source)
    if not ports:
        advice = "leave --input out"
        raise PipelineError("this pipeline takes no input: its sources make it", kind="UnknownPort", suggestion=advice)
    if len(ports) > 1 or (sign and not Path(text).is_file() and port.count(".") == 1 and "/" not in port):
        advice = f"give --input PORT=FILE with one of {', '.join(ports)}"
        raise PipelineError(f"{text!r} names none of the entry ports", kind="UnknownPort", suggestion=advice)
    return Feed(ports[0], text)


def _read(source: str, stopped: threading.Event) -> Iterator[Any]:
    kinds: dict[str, Callable[[Path], Iterator[Any]]] = {".npy": _arrays, ".wav": _sound}
    if source == "-":
        return _typed(stopped)
    path = Path(source)
    return kinds.get(path.suffix.lower(), _lines)(path)


def _typed(stopped: threading.Event) -> Iterator[str]:
    """Lines of stdin. It is looked at again and again: a thread that sat in a read could never be told to stop."""
    rest = b""
    while not stopped.is_set():
        if not select.select([sys.stdin], [], [], _LOOK)[0]:
            continue
        read = os.read(sys.stdin.fileno(), 1 << 16)
        *lines, rest = (rest + read).split(b"\n")
        yield from (line.rstrip(b"\r").decode() for line in lines)
        if not read:
            if rest:
                yield rest.decode()
            return


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8") as lines:
        yield from (line.rstrip("\r\n") for line in lines)


def _arrays(path: Path) -> Iterator[Any]:
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if array.ndim == 0:
        raise ValueError("it holds a single number, not a row of messages")
    yield from (np.asarray(part) for part in array)


def _sound(path: Path) -> Iterator[Audio]:
    with wave.open(str(path), "rb") as file:
        if file.getsampwidth() != 2:
            raise ValueError(f"it has {8 * file.getsampwidth()} bits a sample, not 16")
        channels, rate = file.getnchannels(), file.getframerate()
        while data := file.readframes(rate // _CHUNKS_A_SECOND):
            samples = np.frombuffer(data, "<i2").astype(np.float32) / 32768.0
            yield Audio(samples.reshape(-1, channels) if channels > 1 else samples, rate)


class Sink:
    """Shows the messages that leave a pipeline, or writes them into a folder of its own.

    In the folder: ``messages.jsonl`` has a line for each message, in the order of their arrival, with text in it and
    the names of the files that hold anything else. kept: without a folder, and with ``keep``, what was shown.
    """

    def __init__(self, folder: Path | None, *, keep: bool = False) -> None:
        self._folder, self._keep = folder, keep
        self._index: Any = None
        self.count = 0
        self.kept: list[dict[str, Any]] = []

    def __enter__(self) -> Sink:
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
            if any(self._folder.iterdir()):
                message = f"{self._folder} is not empty"
                advice = "name a folder that does not exist yet"
                raise IOError(message, kind="Exists", context={"path": str(self._folder)}, suggestion=advice)
            self._index = (self._folder / "messages.jsonl").open("w", encoding="utf-8")
        return self

    def __exit__(self, *_: object) -> None:
        if self._index is not None:
            self._index.close()

    def take(self, port: str, message: Message, say: Callable[[str], object]) -> None:
        """Write one message, or ``say`` it. Raises OSError where it cannot be written."""
        self.count += 1
        if self._folder is None:
            shown = _shown(message)
            say(shown)
            if self._keep:
                self.kept.append({"port": port, "kind": message.kind, "text": shown})
            return
        record: dict[str, Any] = {"port": port, "sequence": message.sequence, "kind": message.kind}
        record |= _record(message, lambda suffix: self._file(port, suffix))
        if message.metadata:
            record["metadata"] = message.metadata
        self._index.write(json.dumps(record) + "\n")
        self._index.flush()

    def _file(self, port: str, suffix: str) -> Path:
        assert self._folder is not None
        return self._folder / f"{_SAFE.sub('-', port)}-{self.count:06d}{suffix}"


def _shown(message: Message) -> str:
    data = message.data
    if isinstance(data, str):
        return data
    if isinstance(data, Audio):
        return f"audio: {len(data.samples):,} samples, {data.rate:,} a second"
    if isinstance(data, Video):
        return f"video: a frame of {' x '.join(map(str, data.frame.shape))}, {data.format}"
    if isinstance(data, np.ndarray):
        size = f"array of {data.dtype}, {' x '.join(map(str, data.shape)) or 'one number'}"
        return f"{size}: {np.array2string(data, threshold=8, edgeitems=2, precision=6)}" if data.ndim < 2 else size
    return f"{len(data):,} bytes"


def _record(message: Message, file: Callable[[str], Path]) -> dict[str, Any]:
    """What the index says of the data; what is no text goes into a file."""
    data = message.data
    if isinstance(data, str):
        return {"text": data}
    if isinstance(data, bytes | memoryview):
        path = file(".bin")
        path.write_bytes(data)
        return {"file": path.name, "bytes": len(data)}
    array = data
    told: dict[str, Any] = {}
    if isinstance(data, Audio):
        array, told = data.samples, {"rate": data.rate}
    elif isinstance(data, Video):
        array, told = data.frame, {"fps": data.fps, "format": data.format}
    path = file(".npy")
    np.save(path, array, allow_pickle=False)
    return {"file": path.name, "dtype": str(array.dtype), "shape": list(array.shape), **told}
