"""A training's state as plain arrays: all of it, or what came since an earlier state of the same run.

Most of a state is only ever appended to: cuts, records, kept vertices between two evictions. Of what changes in place,
counts of cuts and vertices, only the places that changed are told. All stages' rows stand in one array of each kind,
one stage after the other: a checkpoint is written after every iteration, so a few arrays must do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cobre.engine.checkpoint_file import Content
from cobre.sddp.batch import SolverStatistics
from cobre.sddp.state import StageState, TrainingState
from cobre.sddp.training import IterationRecord

__all__ = ["assemble", "parts"]

Array = NDArray[Any]
Arrays = dict[str, Array]

_VERTICES = ("levels", "slopes", "status", "tight")  # appended to; the first two along their second axis
_BY_COLUMN = ("levels", "slopes")
_COUNTS = ("active", "last_active", "times_active")  # of cuts, changed in place
_PLAIN = ("iteration", "seconds", "questioned", "picks", "exact_from")
_RECORD = {field.name: {"int": int, "bool": bool, "float": float}[str(field.type)] for field in fields(IterationRecord)}


def parts(state: TrainingState, before: TrainingState | None) -> tuple[dict[str, Any], list[tuple[str, Array]]]:
    """Values for a header, and named arrays. before: an earlier state of the run, None for all of ``state``."""
    first, end = before.iteration if before else 0, state.iteration
    found: dict[str, list[Array]] = {
        "records": [np.array([[getattr(r, name) for name in _RECORD] for r in state.records[first:end]], np.float64)],
        "bounds": [np.array(state.bounds[first:end], np.float64)],
        "exact": [np.array(state.exact[first:end], np.float64)],
        "passes": list(state.passes),
    }
    for t, states in enumerate(state.visited):
        found[f"{t} visited"] = states[first:end]
    lists = {name: [array.shape for array in found[name]] for name in [*found][3:] if found[name]}
    stages, olds = state.stages, before.stages if before else (None,) * len(state.stages)
    cuts = [0 if old is None else old.intercepts.size for old in olds]
    _add_cuts(found, stages, olds, cuts)
    keeps = [t for t, stage in enumerate(stages) if stage.vertices]
    stay = [_staying(stages[t].vertices, olds[t]) for t in keeps]
    _add_vertices(found, [stages[t].vertices for t in keeps], [olds[t] for t in keeps], stay)
    header = {name: getattr(state, name) for name in _PLAIN} | {
        "statistics": asdict(state.statistics),
        "lists": lists,
        "since": {"iteration": first, "cuts": cuts, "vertices": stay},
        "cuts": [(*stage.slopes.shape, *stage.bases.shape) for stage in stages],
        "keeps": [(t, *_extent(stages[t].vertices)) for t in keeps],
    }
    return header, [(name, np.concatenate([a.reshape(-1) for a in arrays])) for name, arrays in found.items() if arrays]


def _extent(vertices: Arrays) -> tuple[int, int, int, int, int]:
    """How many, of how many openings, states and statuses; and how often they were given new places."""
    (openings, count), states = vertices["levels"].shape, len(vertices["slopes"])
    return count, openings, states, vertices["status"].shape[1], int(vertices["evictions"])


def _staying(vertices: Arrays, old: StageState | None) -> int:
    """How many of the vertices kept before stand where they stood."""
    if old is None or not old.vertices or old.vertices["evictions"] != vertices["evictions"]:
        return 0
    return int(old.vertices["last_used"].size)


Olds = Sequence[StageState | None]


def _add_cuts(found: dict[str, list[Array]], stages: Sequence[StageState], olds: Olds, since: list[int]) -> None:
    found["slopes"] = [stage.slopes[at:] for stage, at in zip(stages, since, strict=True)]
    found["intercepts"] = [stage.intercepts[at:] for stage, at in zip(stages, since, strict=True)]
    found["iterations"] = [stage.iterations[at:] for stage, at in zip(stages, since, strict=True)]
    found["starts"] = [stage.starts for stage in stages]
    found["bases"] = [stage.bases for stage in stages]
    now = {name: [getattr(stage, name) for stage in stages] for name in _COUNTS}
    then = {name: [getattr(old, name, None) for old in olds] for name in _COUNTS}
    _add_counts(found, "", now, then, since)


def _add_vertices(found: dict[str, list[Array]], kept: list[Arrays], olds: Olds, since: list[int]) -> None:
    for name in _VERTICES:
        pairs = zip(kept, since, strict=True)
        if name in _BY_COLUMN:
            found[f"kept {name}"] = [vertices[name][:, at:].T for vertices, at in pairs]
        else:
            found[f"kept {name}"] = [vertices[name][at:] for vertices, at in pairs]
    then = [old.vertices["last_used"] if old and old.vertices else None for old in olds]
    _add_counts(found, "kept ", {"last_used": [v["last_used"] for v in kept]}, {"last_used": then}, since)


def _add_counts(
    found: dict[str, list[Array]],
    kind: str,
    now: dict[str, list[Array]],
    then: dict[str, list[Array | None]],
    since: list[int],
) -> None:
    """Of the old rows of all stages, one after the other, those that changed: where, and to what. And all new rows."""
    olds, changed = {}, np.zeros(sum(since), bool)
    for name, arrays in now.items():
        if changed.size:
            pairs = zip(arrays, then[name], since, strict=True)
            both = [(array[:at], old) for array, old, at in pairs if old is not None and at]
            olds[name] = np.concatenate([array for array, _ in both])
            changed |= olds[name] != np.concatenate([old for _, old in both])
        found[f"{kind}new {name}"] = [array[at:].astype(np.int32) for array, at in zip(arrays, since, strict=True)]
    places = np.flatnonzero(changed)
    found[f"{kind}at"] = [places.astype(np.int32)]
    for name, values in olds.items():
        found[f"{kind}{name}"] = [values[places].astype(np.int32)]


def assemble(chain: Sequence[Content]) -> TrainingState:
    """The state of the last of these, the first of which holds a whole one, and each other what came since.

    Raises ValueError, KeyError, TypeError or IndexError where they do not fit together.
    """
    last = chain[-1].header
    if chain[0].header["since"]["iteration"] != 0 or any(
        later.header["since"]["iteration"] != earlier.header["iteration"] for earlier, later in pairwise(chain)
    ):
        raise ValueError("it does not follow what is before it")
    cuts, kept, visited = _Rows(""), _Rows("kept "), [list[Array]() for _ in last["cuts"]]
    for content in chain:
        header = content.header
        cuts.add(content, _cut_widths(header), [shape[0] for shape in header["cuts"]], header["since"]["cuts"])
        numbers = [extent[1] for extent in header["keeps"]]
        kept.add(content, _vertex_widths(header), numbers, header["since"]["vertices"])
        for t, states in enumerate(visited):
            states += _split(content, f"{t} visited")
    places = {int(extent[0]): place for place, extent in enumerate(last["keeps"])}
    records = np.concatenate([content.arrays["records"] for content in chain]).reshape(-1, len(_RECORD)).tolist()
    return TrainingState(
        iteration=int(last["iteration"]),
        seconds=float(last["seconds"]),
        records=[
            IterationRecord(**{name: kind(value) for (name, kind), value in zip(_RECORD.items(), row, strict=True)})
            for row in records
        ],
        bounds=np.concatenate([content.arrays["bounds"] for content in chain]).tolist(),
        exact=np.concatenate([content.arrays["exact"] for content in chain]).tolist(),
        questioned=bool(last["questioned"]),
        statistics=SolverStatistics(**last["statistics"]),
        picks=int(last["picks"]),
        exact_from=None if last["exact_from"] is None else int(last["exact_from"]),
        passes=tuple(_split(chain[-1], "passes")),
        visited=visited,
        stages=tuple(_stage(t, cuts, kept, places.get(t), chain[-1]) for t in range(len(visited))),
    )


def _split(content: Content, name: str) -> list[Array]:
    shapes = content.header["lists"].get(name, [])
    return _cut_up(content.arrays[name], shapes) if shapes else []


def _cut_up(flat: Array, shapes: Sequence[Sequence[int]]) -> list[Array]:
    """Arrays of these shapes, that stand one after the other."""
    ends = np.cumsum([0, *(int(np.prod(shape)) for shape in shapes)]).tolist()
    if ends[-1] != flat.size:
        raise ValueError("there are not as many numbers as there should be")
    return [flat[a:b].reshape(shape).copy() for (a, b), shape in zip(pairwise(ends), shapes, strict=True)]


def _cut_widths(header: dict[str, Any]) -> dict[str, list[tuple[int, ...]]]:
    return {
        "slopes": [(int(shape[1]),) for shape in header["cuts"]],
        "intercepts": [() for _ in header["cuts"]],
        "iterations": [() for _ in header["cuts"]],
    }


def _vertex_widths(header: dict[str, Any]) -> dict[str, list[tuple[int, ...]]]:
    extents = header["keeps"]
    return {
        "levels": [(int(extent[2]),) for extent in extents],
        "slopes": [(int(extent[3]),) for extent in extents],
        "status": [(int(extent[4]),) for extent in extents],
        "tight": [(int(extent[3]) + 1,) for extent in extents],
    }


class _Rows:
    """What stages have rows of (cuts, or kept vertices), as they grow along a chain. kind: before the arrays' names."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self.rows: dict[str, list[Array]] = {}
        self.counts: dict[str, list[Array]] = {}

    def add(
        self, content: Content, widths: dict[str, list[tuple[int, ...]]], size: list[int], since: list[int]
    ) -> None:
        if not size:
            return
        new = [end - at for end, at in zip(size, since, strict=True)]
        for name, wide in widths.items():
            shapes = [(count, *width) for count, width in zip(new, wide, strict=True)]
            fresh = _cut_up(content.arrays[self._kind + name], shapes)
            known = self.rows.get(name, [array[:0] for array in fresh])
            self.rows[name] = [_joined(*given) for given in zip(known, fresh, since, strict=True)]
        at = content.arrays[f"{self._kind}at"]
        for name in ("last_used",) if self._kind else _COUNTS:
            fresh = _cut_up(content.arrays[f"{self._kind}new {name}"].astype(np.int64), [(count,) for count in new])
            known = self.counts.get(name, [array[:0] for array in fresh])
            before = np.concatenate([array[:count] for array, count in zip(known, since, strict=True)])
            if at.size:
                before[at] = content.arrays[self._kind + name]
            olds = _cut_up(before, [(count,) for count in since])
            self.counts[name] = [np.concatenate(pair) for pair in zip(olds, fresh, strict=True)]


def _joined(known: Array, fresh: Array, since: int) -> Array:
    if len(known) < since:
        raise ValueError("rows do not begin where those before them end")
    return np.concatenate([known[:since], fresh])


def _stage(t: int, cuts: _Rows, kept: _Rows, place: int | None, last: Content) -> StageState:
    vertices: Arrays = {}
    if place is not None:
        vertices = {name: rows[place].T if name in _BY_COLUMN else rows[place] for name, rows in kept.rows.items()}
        vertices["last_used"] = kept.counts["last_used"][place]
        vertices["evictions"] = np.array(int(last.header["keeps"][place][5]))
    bases = [tuple(shape[2:]) for shape in last.header["cuts"]]
    return StageState(
        **{name: rows[t] for name, rows in cuts.rows.items()},
        active=cuts.counts["active"][t].astype(bool),
        last_active=cuts.counts["last_active"][t],
        times_active=cuts.counts["times_active"][t],
        starts=_cut_up(last.arrays["starts"], [shape[:1] for shape in bases])[t],
        bases=_cut_up(last.arrays["bases"], bases)[t],
        vertices=vertices,
    )
