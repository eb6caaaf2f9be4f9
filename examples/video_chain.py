"""Movement in a video: 1080p frames of 6.2 MB go from a camera to two readers that share them, and are never copied.

``Camera`` renders frames, ``Gray`` makes small grey pictures of them, ``Motion`` says where something moved, and
``Checksum``, which reads the very same frames, proves that each arrived as it was sent.

Usage: python examples/video_chain.py [FRAMES]          or: cobre pipeline run examples/pipelines/video.toml
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cobre.actors import Node, Pipeline

Picture = NDArray[np.uint8]

HEIGHT, WIDTH = 1080, 1920
SQUARE = 120  # pixels, of what moves


def place(number: int) -> tuple[int, int]:
    """Row and column of the moving square's corner in a frame; it rests in every fifth."""
    moves = number - number // 5
    return 40 + 24 * (moves % 36), 80 + 48 * (moves % 35)


class Camera(Node):
    """A still room through which a square moves."""

    inputs = {}
    outputs = {"out": np.ndarray}

    def __init__(self, frames: int = 30) -> None:
        self.frames = frames
        self.room = np.random.default_rng(3).integers(0, 120, (HEIGHT, WIDTH, 3), dtype=np.uint8)

    def produce(self) -> Iterator[None]:
        """Fills slots of the channel in place: a frame is where its readers look at it from the beginning."""
        for number in range(self.frames):
            with self.loan((HEIGHT, WIDTH, 3), np.uint8, frame=number) as loan:
                self.render(number, loan.array)
            yield  # nothing more: a moment at which the session may ask a source to stop

    def render(self, number: int, frame: Picture) -> None:
        row, column = place(number)
        frame[...] = self.room
        frame[row : row + SQUARE, column : column + SQUARE] = (250, 230, 40)


class Gray(Node):
    """Grey pictures of one pixel for ``step`` times ``step`` of the frame."""

    inputs = {"in": np.ndarray}
    outputs = {"out": np.ndarray}

    def __init__(self, step: int = 8) -> None:
        self.step = step

    def process(self, message: Any) -> Picture:
        frame = message.data[:: self.step, :: self.step]  # a view: what is not looked at is not even read
        return (frame @ np.array([0.299, 0.587, 0.114], np.float32)).astype(np.uint8)


class Motion(Node):
    """Says in which rectangle a picture differs from the one before it."""

    inputs = {"in": np.ndarray}
    outputs = {"out": str}

    def __init__(self, step: int = 8, least: int = 40) -> None:
        self.step, self.least = step, least
        self.before: NDArray[np.int16] | None = None
        self.number = -1

    def process(self, message: Any) -> str | None:
        picture = message.data.astype(np.int16)
        before, self.before = self.before, picture
        self.number += 1
        if before is None:
            return None
        rows, columns = np.nonzero(np.abs(picture - before) > self.least)
        if rows.size == 0:
            return f"frame {self.number}: nothing moves"
        top, left = rows.min() * self.step, columns.min() * self.step
        bottom, right = (rows.max() + 1) * self.step, (columns.max() + 1) * self.step
        return f"frame {self.number}: movement in rows {top} to {bottom}, columns {left} to {right}"


class Checksum(Node):
    """The CRC-32 of every frame."""

    inputs = {"in": np.ndarray}
    outputs = {"out": str}

    def process(self, message: Any) -> str:
        return f"{zlib.crc32(message.data):08x}"


def build(frames: int = 30) -> Pipeline:
    """One camera, read by two; the session reads what moved and the checksums."""
    pipeline = Pipeline("video").add_node("camera", Camera, frames=frames).add_node("gray", Gray)
    pipeline.add_node("motion", Motion).add_node("checksum", Checksum)
    pipeline.connect("camera", ["gray", "checksum"], capacity=4, bytes=4 * HEIGHT * WIDTH * 3)
    return pipeline.connect("gray", "motion")


def main(frames: int = 30) -> None:
    with build(frames).session() as session:
        came = {"motion": [], "checksum": []}
        for message in session.run():
            came[message.port.partition(".")[0]].append(message.data)
        channel = session.channels()["camera.out"]
    print("\n".join(came["motion"]))
    print(f"{channel.messages} frames, {channel.bytes / 1e6:.0f} MB, at most {channel.high_water} at once on their way")

    # The same in this process.
    camera, gray, motion = Camera(frames), Gray(), Motion()
    frame = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    for number in range(frames):
        camera.render(number, frame)
        assert came["checksum"][number] == f"{zlib.crc32(frame):08x}"
        said = motion.process(SimpleNamespace(data=gray.process(SimpleNamespace(data=frame))))
        assert number == 0 or said == came["motion"][number - 1]
    print(f"{frames} frames arrived as they were sent, and one process sees the same movement")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
