"""What the benchmark of collectives found, as text, as a page's tables and as a picture."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["draw", "markdown", "replace_figures", "text"]

TITLES = {
    "local": "local",
    "shm": "shm",
    "tcp": "tcp",
    "curve": "tcp, CURVE",
    "openmpi": "Open MPI",
    "mpich": "MPICH",
}
IN_PLACE = " in place"
PEER = "openmpi"
MEMORY = "Growth of a rank's resident memory from before it loads the library: MB, the largest of all ranks"
BEGIN, END = "<!-- figures: made by benchmarks/collectives.py -->", "<!-- end of figures -->"

Results = dict[str, Any]
Row = list[str]


def text(results: Results) -> str:
    """For a terminal."""
    blocks = [origin(results)]
    for title, rows in tables(results):
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = [
            row[0].ljust(widths[0]) + "".join(f"  {cell:>{width}}" for cell, width in rest(row, widths)) for row in rows
        ]
        blocks.append("\n".join([title, *(line.rstrip() for line in lines)]))
    return "\n\n".join(blocks)


def rest(row: Row, widths: list[int]) -> Iterator[tuple[str, int]]:
    return zip(row[1:], widths[1:], strict=True)


def markdown(results: Results) -> str:
    """For a page."""
    blocks = [origin(results)]
    for title, (head, *body) in tables(results):
        rule = ["---", *["---:"] * (len(head) - 1)]
        lines = ["| " + " | ".join(row) + " |" for row in (head, rule, *body)]
        blocks.append("\n".join([f"**{title}**", "", *lines]))
    return "\n\n".join(blocks)


def replace_figures(page: Path, results: Results, picture: Path | None) -> None:
    """Puts the tables between the page's two marks, under the picture where there is one."""
    before, _, others = page.read_text().partition(BEGIN)
    _, mark, after = others.partition(END)
    if not mark:
        raise SystemExit(f"{page} lacks the lines '{BEGIN}' and '{END}' between which figures go")
    image = ""
    if picture is not None:
        beside = picture.resolve().relative_to(page.resolve().parent)
        image = f"![Time of each collective by size, for every system]({beside.as_posix()})\n\n"
    page.write_text(f"{before}{BEGIN}\n{image}{markdown(results)}\n{END}{after}")


def origin(results: Results) -> str:
    """On what it was measured, and what."""
    machine, method = results["machine"], results["method"]
    parts = [f"{machine['cores']} cores of {machine['model']}, {machine['system']}"]
    seen: dict[str, str] = {}
    for group in results["groups"]:
        versions = dict(group["versions"])
        library = versions.pop("library", None)
        if library:
            seen[group["system"]] = f"{library} with mpi4py {versions.pop('mpi4py')}"
        for name, version in versions.items():
            seen.setdefault(name, f"{name} {version}")
    parts.append(", ".join(dict.fromkeys(seen.values())))
    groups = f"{method['passes']} groups" if method["passes"] > 1 else "one group"
    parts.append(f"{method['rounds']} rounds in each of {groups} a system")
    return ". ".join(part for part in parts if part) + "."


def tables(results: Results) -> Iterator[tuple[str, list[Row]]]:
    """Title and rows of each, the first row being the heads."""
    for size in dict.fromkeys(group["ranks"] for group in results["groups"]):
        groups = {group["system"]: group for group in results["groups"] if group["ranks"] == size}
        yield f"{counted(size)}: microseconds, median (best)", list(times(results, groups))
    if any(group["memory"] for group in results["groups"]):
        yield MEMORY, list(overheads(results))


def counted(size: int) -> str:
    return "One rank" if size == 1 else f"{size} ranks"


def times(results: Results, groups: dict[str, Any]) -> Iterator[Row]:
    compared = [name for name in groups if name not in (PEER, "mpich")] if PEER in groups else []
    yield ["", *(TITLES[name] for name in groups), *(f"{TITLES[name]} / {TITLES[PEER]}" for name in compared)]
    for operation in results["method"]["operations"]:
        found = {name: figure(group, operation["name"]) for name, group in groups.items()}
        cells = [f"{number(one['median_us'])} ({number(one['best_us'])})" for one in found.values()]
        yield [operation["name"], *cells, *(f"{ratio(found[name], found[PEER]):.2f}" for name in compared)]


def figure(group: dict[str, Any], name: str) -> dict[str, Any]:
    """The figure of that operation; a system that has no results in place is shown with its copies."""
    figures = group["figures"]
    found: dict[str, Any] = figures.get(name) or figures[name.replace(IN_PLACE, "")]
    return found


def ratio(ours: dict[str, Any], theirs: dict[str, Any]) -> float:
    """The median of the ratios of passes, each of which is of nearly one moment."""
    pairs = zip(ours["passes_us"], theirs["passes_us"], strict=True)
    return float(statistics.median(one / other for one, other in pairs))


def number(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:.2f}" if value < 9.995 else f"{value:.1f}" if value < 99.95 else f"{value:,.0f}"


def overheads(results: Results) -> Iterator[Row]:
    """A rank's own memory and the program code it maps are overhead; shared segments are the buffers of collectives."""
    yield ["", "after small collectives", "of this private", "after all", "of this private", "shared segments"]
    for group in results["groups"]:
        if group["memory"]:
            formed, after = group["memory"]["formed"], group["memory"]["after"]
            values = (
                formed["own"] + formed["files"],
                formed["own"],
                after["own"] + after["files"],
                after["own"],
                after["shared"],
            )
            yield [
                f"{TITLES[group['system']]}, {counted(group['ranks']).lower()}",
                *(f"{value:.1f}" for value in values),
            ]


COLOURS = {
    "local": "#777777",
    "shm": "#0b5394",
    "tcp": "#c55a11",
    "curve": "#e69f00",
    "openmpi": "#222222",
    "mpich": "#8a8a8a",
}
MARKS = {"local": "x", "shm": "o", "tcp": "s", "curve": "D", "openmpi": "^", "mpich": "v"}
PANELS = ("barrier", "allreduce", "broadcast", "allgatherv", "allgatherv in place")


def draw(results: Results, path: Path) -> None:
    """Small multiples, a row for each size of the group and a column for each operation, both axes logarithmic."""
    try:
        import matplotlib
    except ImportError:
        raise SystemExit("a picture needs matplotlib: pip install 'cobre-actors[plot]'") from None
    matplotlib.use("Agg")
    # The same picture for the same figures: no random names, no date.
    matplotlib.rcParams.update({"svg.hashsalt": "collectives", "font.size": 8.0})
    from matplotlib.figure import Figure

    sizes = list(dict.fromkeys(group["ranks"] for group in results["groups"]))
    drawing = Figure(figsize=(11.0, 0.6 + 2.6 * len(sizes)), layout="constrained")
    widths = [0.45, 1.0, 0.8, 1.2, 1.2]
    axes = drawing.subplots(len(sizes), len(PANELS), sharey=True, squeeze=False, width_ratios=widths)
    for row, size in zip(axes, sizes, strict=True):
        for at, kind in zip(row, PANELS, strict=True):
            groups = [group for group in results["groups"] if group["ranks"] == size]
            panel(at, kind, groups, results["method"]["operations"])
        row[0].set_ylabel(f"{counted(size)}\ntime of a call, µs")
        row[0].yaxis.set_major_formatter("{x:,g}")
    for at, kind in zip(axes[0], PANELS, strict=True):
        at.set_title(kind)
    for at, kind in zip(axes[-1][1:], PANELS[1:], strict=True):
        at.set_xlabel("size of a rank's contribution" if kind.startswith("allgatherv") else "size of the array")
    handles, labels = axes[0][0].get_legend_handles_labels()
    drawing.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    drawing.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def panel(axes: Any, kind: str, groups: list[dict[str, Any]], operations: list[dict[str, Any]]) -> None:
    """Medians, with a line down to the best."""
    shown = [operation for operation in operations if operation["kind"] == kind]
    for place, group in enumerate(groups):
        system = group["system"]
        figures = [figure(group, operation["name"]) for operation in shown]
        medians = [one["median_us"] for one in figures]
        below = [one["median_us"] - one["best_us"] for one in figures]
        where = [operation["bytes"] for operation in shown] if shown[0]["bytes"] else [place]
        style = "--" if system in ("openmpi", "mpich") else "-"
        axes.errorbar(
            where,
            medians,
            yerr=[below, [0.0] * len(below)],
            color=COLOURS[system],
            marker=MARKS[system],
            markersize=4.0,
            linestyle=style,
            linewidth=1.2,
            elinewidth=0.7,
            label=TITLES[system],
        )
    axes.set_yscale("log")
    axes.grid(True, axis="y", color="#dddddd", linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    if shown[0]["bytes"]:
        axes.set_xscale("log", base=2)
        ticks = [operation["bytes"] for operation in shown]
        axes.set_xticks(ticks, [operation["name"].rsplit(", ", 1)[1] for operation in shown])
        axes.minorticks_off()
    else:
        axes.set_xticks([])
        axes.set_xlim(-0.5, len(groups) - 0.5)
