"""What pipelines on the command line are fed with, and how what comes out is shown and written."""

from __future__ import annotations

import json
import os
import threading
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cobre.cli.pipeline_data import Sink, feeds_of
from cobre.errors import IOError, PipelineError
from cobre.transport.media import Audio, Video


class Told:
    """A message as far as sinks look at it."""

    def __init__(self, kind: str, data: Any, **metadata: Any) -> None:
        self.kind, self.data, self.metadata, self.sequence = kind, data, metadata, 7


MESSAGES = [
    Told("text", "hello"),
    Told("array", np.arange(6.0).reshape(2, 3), frame=3),
    Told("bytes", b"abc"),
    Told("audio", Audio(np.ones(4, np.float32), 16_000)),
    Told("video", Video(np.zeros((2, 4, 3), np.uint8), 25.0, "rgb24")),
]


def fed(given: str, ports: list[str]) -> list[Any]:
    (feed,) = feeds_of([given], ports)
    return list(feed.read(threading.Event()))


def test_lines_of_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lines.txt").write_text("one\n\ntwo ä\r\nthree")
    assert fed(f"{tmp_path}/lines.txt", ["a.in"]) == ["one", "", "two ä", "three"]


def test_lines_of_stdin_come_as_they_are_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    stopped = threading.Event()
    with os.fdopen(reading) as typed, os.fdopen(writing, "wb", buffering=0) as keyboard:
        monkeypatch.setattr("sys.stdin", typed)
        (feed,) = feeds_of(["-"], ["a.in"])
        lines = feed.read(stopped)
        keyboard.write(b"x\nyy")
        assert next(lines) == "x"
        keyboard.write(b"y\r\n")
        assert next(lines) == "yyy"
        stopped.set()
        assert list(lines) == []  # it waits for no more
        stopped.clear()
        keyboard.write(b"the end")
        keyboard.close()
        assert list(feed.read(stopped)) == ["the end"]


def test_rows_of_an_array(tmp_path: Path) -> None:
    rows = np.arange(12.0).reshape(3, 2, 2)
    np.save(tmp_path / "rows.npy", rows)
    found = fed(f"{tmp_path}/rows.npy", ["a.in"])
    assert len(found) == 3
    assert all(np.array_equal(one, row) for one, row in zip(found, rows, strict=True))
    np.save(tmp_path / "one.npy", np.float64(3.0))
    with pytest.raises(IOError, match="single number"):
        fed(f"{tmp_path}/one.npy", ["a.in"])


@pytest.mark.parametrize("channels", [1, 2])
def test_sound_in_chunks_of_20_ms(tmp_path: Path, channels: int) -> None:
    samples = (np.arange(channels * 1000) % 2000 - 1000).astype("<i2")
    with wave.open(str(tmp_path / "sound.wav"), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(samples.tobytes())
    found = fed(f"{tmp_path}/sound.wav", ["a.in"])
    assert [len(chunk.samples) for chunk in found] == [320, 320, 320, 40]
    assert all((chunk.rate, chunk.channels) == (16_000, channels) for chunk in found)
    joined = np.concatenate([chunk.samples.reshape(-1) for chunk in found])
    assert np.array_equal(joined, samples.astype(np.float32) / 32768.0)


@pytest.mark.parametrize("name", ["broken.npy", "broken.wav", "broken.txt"])
def test_files_that_are_not_what_they_are_called(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\xff\xfe nothing of the kind")
    with pytest.raises(IOError, match=name) as caught:
        fed(f"{tmp_path}/{name}", ["a.in"])
    assert caught.value.kind == "ReadFailed"


def test_files_go_to_the_ports_that_are_named(tmp_path: Path) -> None:
    for name in ("left.txt", "right.txt", "a=b.txt"):
        (tmp_path / name).write_text(name)
    feeds = feeds_of([f"b.in={tmp_path}/right.txt", f"a.in={tmp_path}/left.txt"], ["a.in", "b.in"])
    assert {feed.port: list(feed.read(threading.Event())) for feed in feeds} == {
        "a.in": ["left.txt"],
        "b.in": ["right.txt"],
    }
    assert fed(f"{tmp_path}/a=b.txt", ["a.in"]) == ["a=b.txt"]  # a sign in a path is none that names a port


@pytest.mark.parametrize(
    ("given", "ports", "kind", "words"),
    [
        ([], ["a.in"], "DanglingPort", "--input a.in=FILE"),
        (["FILE"], [], "UnknownPort", "takes no input"),
        (["FILE"], ["a.in", "b.in"], "UnknownPort", "a.in, b.in"),
        (["c.in=FILE"], ["a.in"], "UnknownPort", "a.in"),
        (["a.in=FILE"], ["a.in", "b.in"], "DanglingPort", "--input b.in=FILE"),
        (["FILE", "a.in=FILE"], ["a.in"], "DuplicateName", "join"),
    ],
)
def test_inputs_that_do_not_fit_the_pipeline(
    tmp_path: Path, given: list[str], ports: list[str], kind: str, words: str
) -> None:
    (tmp_path / "lines").write_text("x")
    with pytest.raises(PipelineError) as caught:
        feeds_of([text.replace("FILE", str(tmp_path / "lines")) for text in given], ports)
    assert caught.value.kind == kind
    assert words in str(caught.value)


def test_a_file_that_is_not_there_is_said_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(IOError) as caught:
        feeds_of([str(tmp_path / "none.txt")], ["a.in"])
    assert caught.value.kind == "NotFound"


def test_messages_are_shown() -> None:
    said: list[str] = []
    with Sink(None) as sink:
        for message in MESSAGES:
            sink.take("n.out", message, said.append)  # type: ignore[arg-type]
    assert said == [
        "hello",
        "array of float64, 2 x 3",
        "3 bytes",
        "audio: 4 samples, 16,000 a second",
        "video: a frame of 2 x 4 x 3, rgb24",
    ]
    assert sink.count == 5


def test_messages_are_written(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "out"
    said: list[str] = []
    with Sink(folder) as sink:
        for message in MESSAGES:
            sink.take("n.out", message, said.append)  # type: ignore[arg-type]
    index = [json.loads(line) for line in (folder / "messages.jsonl").read_text().splitlines()]
    assert [record["kind"] for record in index] == [message.kind for message in MESSAGES]
    assert all((record["port"], record["sequence"]) == ("n.out", 7) for record in index)
    assert index[0]["text"] == "hello"
    assert index[1]["metadata"] == {"frame": 3}
    assert np.array_equal(np.load(folder / index[1]["file"]), MESSAGES[1].data)
    assert (folder / index[2]["file"]).read_bytes() == b"abc"
    assert (index[3]["rate"], index[3]["shape"]) == (16_000, [4])
    assert (index[4]["format"], index[4]["dtype"]) == ("rgb24", "uint8")
    assert len({record["file"] for record in index[1:]}) == 4
    assert said == []


def test_a_folder_with_something_in_it_is_not_written_into(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("")
    with pytest.raises(IOError) as caught, Sink(tmp_path):
        pass
    assert caught.value.kind == "Exists"
