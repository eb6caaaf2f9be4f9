"""Sound and pictures as messages carry them: an array, and what it takes to play it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

__all__ = ["Audio", "Video"]


@dataclass(frozen=True, slots=True, eq=False)
class Audio:
    """Sound. samples: one value a moment, or a row a moment with a column for each channel; rate: moments a second."""

    samples: NDArray[Any]
    rate: float

    @property
    def channels(self) -> int:
        return 1 if self.samples.ndim < 2 else int(self.samples.shape[1])

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate


@dataclass(frozen=True, slots=True, eq=False)
class Video:
    """One picture. frame: height, width and, where there are several, channels; fps: pictures a second; format: what
    the channels are, in at most 16 bytes."""

    frame: NDArray[Any]
    fps: float = 0.0
    format: str = "rgb24"

    @property
    def height(self) -> int:
        return int(self.frame.shape[0])

    @property
    def width(self) -> int:
        return int(self.frame.shape[1])
