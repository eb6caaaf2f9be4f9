"""What the benchmark of channels found, as a table and as a picture."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

__all__ = ["draw", "markdown", "replace_figures"]

TITLES = {
    "loan": "cobre, `loan`",
    "publish": "cobre, `publish`",
    "tcp": "cobre, `TcpChannel`",
    "iceoryx2": "iceoryx2, loan",
    "pipe": "multiprocessing.Pipe",
    "ray": "Ray, compiled graph",
    "bare": "bare pipe, 1 byte",
    "copy": "bare copy and that pipe",
}
COLOURS = {
    "loan": "#0b5394",
    "publish": "#3d85c6",
    "tcp": "#c55a11",
    "iceoryx2": "#38761d",
    "pipe": "#8a8a8a",
    "ray": "#7a4fa3",
    "bare": "#222222",
    "copy": "#222222",
}
BEGIN, END = "<!-- figures: made by benchmarks/channels.py -->", "<!-- end of figures -->"

Results = dict[str, Any]


def markdown(results: Results) -> str:
    """A row for each system and size, a column for each pause."""
    pauses = results["method"]["pauses"]
    lines = [
        origin(results),
        "",
        "| microseconds: median (p99) | size | " + " | ".join(map(pause_title, pauses)) + " |",
        "|---|---:|" + "---:|" * len(pauses),
    ]
    for system, sizes in results["figures"].items():
        for size, by_pause in sizes.items():
            cells = (f"{number(one['median'])} ({number(one['p99'])})" for one in map(best, by_pause.values()))
            shown = "" if system == "bare" else size_title(int(size))
            lines.append(f"| {TITLES[system]} | {shown} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def origin(results: Results) -> str:
    machine, method = results["machine"], results["method"]
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    return (
        f"{machine['cores']} cores of {machine['model']}, {machine['system']}. {versions}. Each cell is the best of"
        f" {method['passes']} runs (that with the lowest median), the systems in turn, of up to {method['count']:,}"
        f" messages in {method['seconds']:g} s."
    )


def best(passes: list[dict[str, float]]) -> dict[str, float]:
    """The run that was disturbed least."""
    return min(passes, key=lambda one: one["median"])


def summary(times: list[float]) -> dict[str, float]:
    """Median and 99th percentile in microseconds, and of how many."""
    ordered = sorted(times)
    return {"median": statistics.median(ordered), "p99": ordered[len(ordered) * 99 // 100], "count": len(ordered)}


def pause_title(seconds: float) -> str:
    return f"{seconds * 1000:g} ms after the last" if seconds else "at once"


def size_title(size: int) -> str:
    return f"{size >> 20} MB" if size >= 1 << 20 else f"{size >> 10} KB"


def number(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:.1f}" if value < 99.95 else f"{value:,.0f}"


def replace_figures(page: Path, results: Results, picture: Path | None) -> None:
    """Puts the table between the page's two marks, under the picture where there is one."""
    before, _, others = page.read_text().partition(BEGIN)
    _, mark, after = others.partition(END)
    if not mark:
        raise SystemExit(f"{page} lacks the lines '{BEGIN}' and '{END}' between which figures go")
    image = ""
    if picture is not None:
        beside = picture.resolve().relative_to(page.resolve().parent)
        image = f"![Time of a message by size, for every system]({beside.as_posix()})\n\n"
    page.write_text(f"{before}{BEGIN}\n{image}{markdown(results)}\n{END}{after}")


def draw(results: Results, path: Path) -> None:
    """A panel for each pause: medians by size with a line up to the 99th percentile, both axes logarithmic."""
    try:
        import matplotlib
    except ImportError:
        raise SystemExit("a picture needs matplotlib: pip install 'cobre-actors[plot]'") from None
    matplotlib.use("Agg")
    # The same picture for the same figures: no random names, no date.
    matplotlib.rcParams.update({"svg.hashsalt": "channels", "font.size": 8.0})
    from matplotlib.figure import Figure

    pauses = results["method"]["pauses"]
    drawing = Figure(figsize=(3.4 * len(pauses), 3.6), layout="constrained")
    axes = drawing.subplots(1, len(pauses), sharey=True, squeeze=False)[0]
    for at, pause in zip(axes, pauses, strict=True):
        panel(at, results, str(pause))
        at.set_title(f"next message {pause_title(pause)}")
    axes[0].set_ylabel("microseconds, median and p99")
    axes[0].yaxis.set_major_formatter("{x:,g}")
    handles, labels = axes[0].get_legend_handles_labels()
    drawing.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    drawing.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def panel(axes: Any, results: Results, pause: str) -> None:
    sizes = results["method"]["sizes"]
    for place, (system, found) in enumerate(results["figures"].items()):
        figures = [best(by_pause[pause]) for by_pause in found.values()]
        medians = [one["median"] for one in figures]
        label = TITLES[system].replace("`", "")
        if system == "bare":
            axes.axhline(medians[0], color=COLOURS[system], linestyle=":", linewidth=1.0, label=label)
            continue
        axes.errorbar(
            [int(size) * 1.06**place for size in found],  # side by side
            medians,
            yerr=[[0.0] * len(medians), [max(0.0, one["p99"] - one["median"]) for one in figures]],
            color=COLOURS[system],
            marker="o",
            markersize=3.5,
            linestyle="--" if system in ("copy", "iceoryx2", "ray", "pipe") else "-",
            linewidth=1.2,
            elinewidth=0.7,
            label=label,
        )
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(sizes, [size_title(size) for size in sizes])
    axes.minorticks_off()
    axes.grid(True, axis="y", color="#dddddd", linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)
