"""Words out of sound: chunks of 20 ms pass through three processes that each compute, and come out as text.

``Resample`` filters 48 kHz down to 16 kHz, ``Features`` makes log-mel spectra of it, and ``Spotter`` finds where
somebody speaks and which of the words that it knows comes nearest. The sound is made here, so what ought to be heard
is known; and the same three classes, called one after the other in this process, must come to the same text.

Usage: python examples/speech_chain.py [WAV]

The recording is kept in the file WAV, if one is named, to be listened to, and to be fed to the same chain in a file:
cobre pipeline run examples/pipelines/speech.toml --input WAV
"""

from __future__ import annotations

import sys
import wave
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cobre.actors import Node, Pipeline, Progress
from cobre.transport import Audio

Samples = NDArray[np.float32]

MICROPHONE = 48_000  # samples a second
CHUNK = MICROPHONE // 50
# The first three resonances of a mouth that says it, in Hz, at the beginning and at the end of the word.
WORDS = {
    "left": ((300, 2300, 3000), (600, 1800, 2500)),
    "right": ((400, 1100, 1700), (300, 2200, 2900)),
    "stop": ((700, 1100, 2600), (450, 850, 2400)),
}
SENTENCE = ("right", "left", "stop", "left", "right", "right", "stop")


def spoken(word: str, seconds: float = 0.36) -> Samples:
    """A word as a buzz of 110 Hz whose overtones are loud near the word's resonances."""
    time = np.arange(int(seconds * MICROPHONE)) / MICROPHONE
    begin, end = WORDS[word]
    sound = np.zeros_like(time)
    for overtone in range(1, 34):
        pitch = 110.0 * overtone
        resonances = [a + (b - a) * time / seconds for a, b in zip(begin, end, strict=True)]
        loudness = sum(1.0 / (1.0 + ((pitch - f) / 120.0) ** 2) for f in resonances)
        sound += loudness * np.sin(2.0 * np.pi * pitch * time)
    return (0.1 * sound * np.sin(np.pi * time / seconds) ** 0.5).astype(np.float32)


def recording(sentence: Iterable[str] = SENTENCE) -> Iterator[Audio]:
    """The words with pauses between them, over the noise of a room, in chunks of 20 ms."""
    pause = np.zeros(MICROPHONE // 5, np.float32)
    parts = [pause]
    for word in sentence:
        parts += [spoken(word), pause]
    sound = np.concatenate(parts)
    sound += 0.002 * np.random.default_rng(5).standard_normal(sound.size).astype(np.float32)
    for start in range(0, sound.size - CHUNK + 1, CHUNK):
        yield Audio(sound[start : start + CHUNK], MICROPHONE)


def keep(path: Path) -> None:
    """Writes the recording into a file, 16 bits a sample."""
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, MICROPHONE, 0, "NONE", ""))
        for chunk in recording():
            file.writeframes((32767.0 * chunk.samples.clip(-1.0, 1.0)).astype("<i2").tobytes())


class Resample(Node):
    """Takes every n-th sample of what a low-pass filter lets through."""

    inputs = {"in": Audio}
    outputs = {"out": Audio}

    def __init__(self, rate: int = 16_000, source: int = MICROPHONE, taps: int = 96) -> None:
        self.rate, self.source, self.step = rate, source, source // rate
        around = np.arange(taps) - (taps - 1) / 2.0
        window = np.hamming(taps) * np.sinc(0.9 * around / self.step)
        self.filter = (window / window.sum()).astype(np.float32)
        self.before = np.zeros(taps - 1, np.float32)  # the end of the chunk before

    def process(self, message: Any) -> Audio:
        heard = message.data
        if heard.rate != self.source:
            raise ValueError(f"this is sound of {heard.rate:g} samples a second, not of {self.source}")
        mono = heard.samples if heard.channels == 1 else heard.samples.mean(axis=1)
        sound = np.concatenate([self.before, mono])
        self.before = sound[-len(self.before) :]
        return Audio(np.convolve(sound, self.filter, "valid")[:: self.step], self.rate)


class Features(Node):
    """Log-mel spectra, ``bands`` numbers each, of windows of 25 ms that begin every 10 ms."""

    inputs = {"in": Audio}
    outputs = {"out": np.ndarray}

    def __init__(self, bands: int = 26, rate: int = 16_000) -> None:
        self.width, self.hop = rate // 40, rate // 100
        self.window = np.hanning(self.width).astype(np.float32)
        self.rest = np.zeros(0, np.float32)  # what is not yet a whole window
        edges = 700.0 * (10.0 ** (np.linspace(60.0, 2840.0, bands + 2) / 2595.0) - 1.0)
        frequencies = np.fft.rfftfreq(512, 1.0 / rate)
        rise = (frequencies - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
        fall = (edges[2:, None] - frequencies) / (edges[2:] - edges[1:-1])[:, None]
        self.bank = np.maximum(0.0, np.minimum(rise, fall)).T

    def process(self, message: Any) -> NDArray[np.float32] | None:
        sound = np.concatenate([self.rest, message.data.samples])
        count = (sound.size - self.width) // self.hop + 1
        self.rest = sound[max(0, count) * self.hop :]
        if count < 1:
            return None
        windows = np.lib.stride_tricks.sliding_window_view(sound, self.width)[:: self.hop][:count]
        power = np.abs(np.fft.rfft(windows * self.window, 512)) ** 2
        return np.log(power @ self.bank + 1e-6).astype(np.float32)


class Spotter(Node):
    """Finds stretches that are louder than the room, and says which known word each of them is nearest to."""

    inputs = {"in": np.ndarray}
    outputs = {"out": str}

    def __init__(self, words: tuple[str, ...] = tuple(WORDS), louder: float = 2.0, hang: int = 6) -> None:
        self.words, self.louder, self.hang = words, louder, hang
        self.heard: list[NDArray[np.float32]] = []
        self.silent, self.frames = 0, 0
        self.floor: float | None = None  # the loudness of the room, from its first spectra

    def initialize(self, progress: Progress) -> None:
        """Learns what each word looks like."""
        self.known = {}
        for done, word in enumerate(self.words):
            progress(done / len(self.words), f"learning {word!r}", state="loading")
            spectra = np.concatenate(in_one_process([Audio(spoken(word), MICROPHONE)], Resample(), Features()))
            self.known[word] = shape_of(spectra)

    def process(self, message: Any) -> list[str]:
        return [text for spectrum in message.data for text in self._hear(spectrum.copy())]

    def finish(self) -> list[str]:
        """A word that the recording's end cut off."""
        return list(self._end())

    def _hear(self, spectrum: NDArray[np.float32]) -> Iterator[str]:
        loudness = float(spectrum.mean())
        self.floor = loudness if self.floor is None else self.floor
        self.frames += 1
        if loudness > self.floor + self.louder:
            self.heard.append(spectrum)
            self.silent = 0
        elif self.heard:
            self.silent += 1
            if self.silent >= self.hang:
                yield from self._end()

    def _end(self) -> Iterator[str]:
        if len(self.heard) >= 5:
            end = self.frames - self.silent
            seen = shape_of(np.array(self.heard))
            distance = {word: float(np.abs(seen - shape).mean()) for word, shape in self.known.items()}
            word = min(distance, key=distance.__getitem__)
            yield f"{(end - len(self.heard)) / 100:5.2f} s to {end / 100:5.2f} s: {word}"
        self.heard, self.silent = [], 0


def shape_of(spectra: NDArray[np.float32]) -> NDArray[np.float32]:
    """A word's beginning, middle and end, whatever its loudness and its length."""
    thirds = np.array([third.mean(axis=0) for third in np.array_split(spectra, 3)])
    return thirds - thirds.mean(axis=1, keepdims=True)


def in_one_process(items: Iterable[Any], *nodes: Node) -> list[Any]:
    """What the nodes make of ``items``, one node after the other, in this process."""
    for node in nodes:
        made: list[Any] = []
        for item in items:
            given = node.process(SimpleNamespace(data=item))
            made += [] if given is None else given if isinstance(given, list) else [given]
        items = made
    return list(items)


def build(words: Iterable[str] = tuple(WORDS)) -> Pipeline:
    """The three of them in a row; the session feeds the first and reads the last."""
    pipeline = Pipeline("speech").add_node("resample", Resample, rate=16_000).add_node("features", Features)
    pipeline.add_node("spotter", Spotter, words=tuple(words))
    return pipeline.connect("resample", "features", capacity=50).connect("features", "spotter", capacity=50)


def main(path: Path | None = None) -> None:
    if path is not None:
        keep(path)
    print(build().diagram("text"))
    with build().session(on_progress=show) as session:
        heard = []
        for message in session.run(recording()):
            heard.append(message.data)
            print(message.data)
        done = {name: status.processed for name, status in session.status().items()}
    print("messages:", ", ".join(f"{name} {count}" for name, count in done.items()))

    spotter = Spotter()
    spotter.initialize(lambda fraction, message="", *, state="loading": None)
    assert heard == in_one_process(recording(), Resample(), Features(), spotter)
    assert [text.split()[-1] for text in heard] == list(SENTENCE)
    print(f"one process hears the same {len(heard)} words, and they are those that were spoken")


def show(node: str, stage: str, fraction: float, message: str) -> None:
    """Called while the nodes start, in this thread."""
    if message:
        print(f"{node} is {stage} ({fraction:.0%}): {message}")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
