"""The benchmark of channels runs, and its figures come out as a table."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "channels.py"
PAGE = "# Title\n\n<!-- figures: made by benchmarks/channels.py -->\nold\n<!-- end of figures -->\n\nafter\n"


def test_every_system_and_pause_has_its_figures_and_they_replace_those_of_a_page(tmp_path: Path) -> None:
    figures, page = tmp_path / "figures.json", tmp_path / "page.md"
    page.write_text(PAGE)
    command = [sys.executable, str(BENCHMARK), "--only", "loan,bare", "--sizes", "1024", "--passes", "1"]
    command += ["--count", "20", "--seconds", "0.01", "--json", str(figures), "--page", str(page)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240.0, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(figures.read_text())["figures"]
    assert {system: len(sizes) for system, sizes in found.items()} == {"loan": 1, "bare": 1}
    for sizes in found.values():
        for by_pause in sizes.values():
            assert len(by_pause) == 3
            assert all(0.0 < one["median"] <= one["p99"] for passes in by_pause.values() for one in passes)
    text = page.read_text()
    assert text.startswith("# Title")
    assert text.endswith("after\n")
    assert "old" not in text
    assert [line for line in done.stdout.splitlines() if line.startswith("| cobre")] == [
        line for line in text.splitlines() if line.startswith("| cobre")
    ]
    assert text.count("| cobre, `loan` |") == 1
