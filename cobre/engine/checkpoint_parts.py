"""A training's state as plain arrays: all of it, or what came since an earlier state of the same run.

Most of a state is only ever appended to: cuts, records, kept vertices between two evictions. What came since is the
rest of those, and all of the little that changes in place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cobre.engine.checkpoint_file import Content
from cobre.sddp.batch import SolverStatistics
from cobre.sddp.state import StageState, TrainingState
from cobre.sddp.training import IterationRecord

__all__ = ["Extent", "assemble", "parts"]

Array = NDArray[Any]

_CUTS = ("slopes", "intercepts", "iterations")  # appended to
_COUNTS = ("active", "last_active", "times_active")  # of cuts, changed in place
_VERTICES = ("levels", "slopes", "status", "tight")  # appended to; the first two along their second axis
_BY_COLUMN = ("levels", "slopes")
_PLAIN = ("iteration", "seconds", "questioned", "picks", "exact_from")
_RECORD = {field.name: {"int": int, "bool": bool, "float": float}[str(field.type)] for field in fields(IterationRecord)}


@dataclass(frozen=True)
class Extent:
    """How far a state reaches: completed iterations, and by stage its cuts, kept vertices and evictions of those."""

    iteration: int
    cuts: tuple[int, ...]
    vertices: tuple[int, ...]
    evictions: tuple[int, ...]

    @classmethod
    def of(cls, state: TrainingState) -> Extent:
        stages = state.stages
        return cls(
            state.iteration,
            tuple(stage.intercepts.size for stage in stages),
            tuple(stage.vertices["last_used"].size if stage.vertices else 0 for stage in stages),
            tuple(int(stage.vertices["evictions"]) if stage.vertices else 0 for stage in stages),
        )

    @classmethod
    def nothing(cls, stages: int) -> Extent:
        """That of a run before it begins."""
        return cls(0, (0,) * stages, (0,) * stages, (0,) * stages)


def parts(state: TrainingState, since: Extent | None) -> tuple[dict[str, Any], list[tuple[str, Array]]]:
    """Numbers for a header, and named arrays. since: of the earlier state, None for all."""
    before = since or Extent.nothing(len(state.stages))
    now = Extent.of(state)
    kept = [
        0 if now.evictions[t] != before.evictions[t] else before.vertices[t]  # places were given anew
        for t in range(len(state.stages))
    ]
    first, end = before.iteration, state.iteration
    arrays: list[tuple[str, Array]] = [
        ("records", np.array([[getattr(r, name) for name in _RECORD] for r in state.records[first:end]], np.float64)),
        ("bounds", np.array(state.bounds[first:end], np.float64)),
        ("exact", np.array(state.exact[first:end], np.float64)),
        *_listed("passes", state.passes),
    ]
    for t, states in enumerate(state.visited):
        arrays += _listed(f"{t} visited", states[first:end])
    for t, stage in enumerate(state.stages):
        arrays += _stage_parts(t, stage, before.cuts[t], kept[t])
    header = {name: getattr(state, name) for name in _PLAIN} | {
        "statistics": asdict(state.statistics),
        "stages": len(state.stages),
        "keeps": [bool(stage.vertices) for stage in state.stages],
        "evictions": now.evictions,
        "since": {"iteration": first, "cuts": before.cuts, "vertices": kept},
    }
    return header, arrays


def _listed(name: str, arrays: Sequence[Array]) -> list[tuple[str, Array]]:
    """A list of arrays as one, and the lengths."""
    if not arrays:
        return []
    return [(name, np.concatenate(arrays)), (f"{name} lengths", np.array([len(array) for array in arrays], np.int64))]


def _stage_parts(t: int, stage: StageState, cuts: int, vertices: int) -> list[tuple[str, Array]]:
    found: list[tuple[str, Array]] = [(f"{t} {name}", getattr(stage, name)[cuts:]) for name in _CUTS]
    found += [(f"{t} {name}", getattr(stage, name)) for name in (*_COUNTS, "starts", "bases")]
    if stage.vertices:
        for name in _VERTICES:
            array = stage.vertices[name]
            found.append((f"{t} kept {name}", array[:, vertices:].T if name in _BY_COLUMN else array[vertices:]))
        found.append((f"{t} kept last_used", stage.vertices["last_used"]))
    return found


def assemble(chain: Sequence[Content]) -> TrainingState:
    """The state of the last of these, the first of which holds a whole one, and each other what came since.

    Raises ValueError, KeyError or TypeError where they do not fit together.
    """
    last = chain[-1].header
    stages, chunks = range(int(last["stages"])), _Chunks()
    for content in chain:
        chunks.add(content)
    rows = chunks.joined("records").tolist()
    fresh = chain[-1].arrays
    return TrainingState(
        iteration=int(last["iteration"]),
        seconds=float(last["seconds"]),
        records=[
            IterationRecord(**{name: kind(value) for (name, kind), value in zip(_RECORD.items(), row, strict=True)})
            for row in rows
        ],
        bounds=chunks.joined("bounds").tolist(),
        exact=chunks.joined("exact").tolist(),
        questioned=bool(last["questioned"]),
        statistics=SolverStatistics(**last["statistics"]),
        picks=int(last["picks"]),
        exact_from=None if last["exact_from"] is None else int(last["exact_from"]),
        passes=tuple(_split(fresh, "passes")),
        visited=[chunks.visited(t) for t in stages],
        stages=tuple(_stage(t, chunks, fresh, last) for t in stages),
    )


class _Chunks:
    """What the contents of a chain append, by name."""

    def __init__(self) -> None:
        self._arrays: dict[str, list[Array]] = {}
        self._visited: dict[int, list[Array]] = {}

    def add(self, content: Content) -> None:
        header, arrays = content.header, content.arrays
        since = header["since"]
        for name in ("records", "bounds", "exact"):
            if self._length(name) != int(since["iteration"]) and name != "exact":
                raise ValueError(f"{name} do not begin where those before them end")
            self._arrays.setdefault(name, []).append(arrays[name])
        for t in range(int(header["stages"])):
            self._visited.setdefault(t, []).extend(_split(arrays, f"{t} visited"))
            self._append(t, _CUTS, "", arrays, int(since["cuts"][t]))
            if header["keeps"][t]:
                self._append(t, _VERTICES, "kept ", arrays, int(since["vertices"][t]))

    def _append(self, t: int, names: tuple[str, ...], kind: str, arrays: dict[str, Array], since: int) -> None:
        for name in names:
            whole = f"{t} {kind}{name}"
            if since == 0:
                self._arrays[whole] = []
            if self._length(whole) != since:
                raise ValueError(f"{whole} do not begin where those before them end")
            self._arrays[whole].append(arrays[whole])

    def _length(self, name: str) -> int:
        return sum(len(array) for array in self._arrays.get(name, []))

    def joined(self, name: str) -> Array:
        return np.concatenate([array for array in self._arrays[name] if len(array)] or self._arrays[name][:1])

    def visited(self, t: int) -> list[Array]:
        return [array.copy() for array in self._visited[t]]


def _split(arrays: dict[str, Array], name: str) -> list[Array]:
    if name not in arrays:
        return []
    whole, lengths = arrays[name], arrays[f"{name} lengths"]
    if int(lengths.sum()) != len(whole):
        raise ValueError(f"{name} are not as many as their lengths say")
    return [part.copy() for part in np.split(whole, np.cumsum(lengths)[:-1])]


def _stage(t: int, chunks: _Chunks, fresh: dict[str, Array], header: dict[str, Any]) -> StageState:
    vertices = {}
    if header["keeps"][t]:
        for name in _VERTICES:
            array = chunks.joined(f"{t} kept {name}")
            vertices[name] = array.T if name in _BY_COLUMN else array
        vertices["last_used"] = fresh[f"{t} kept last_used"].copy()
        vertices["evictions"] = np.array(int(header["evictions"][t]))
    cuts = {name: chunks.joined(f"{t} {name}") for name in _CUTS}
    return StageState(
        **cuts, **{name: fresh[f"{t} {name}"].copy() for name in (*_COUNTS, "starts", "bases")}, vertices=vertices
    )
