"""What does a wrong belief about rain cost? Scenario generator, trainer, simulator and reporter as one pipeline.

``Generator`` draws inflows as dry, usual and wet beliefs have them; ``Trainer`` trains a policy for each; ``Simulator``
has every policy operate the same dams through the same years, while the next one is still being trained; ``Reporter``
says what each belief costs. Each is a process. Inflows and costs pass as arrays, a policy as the folder it is saved in.

Usage: python examples/sddp_pipeline.py [CASE]
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import cobre
from cobre.actors import Item, Node, Pipeline, Progress

CASE = Path(__file__).parent / "cases" / "three-dams"
BELIEFS = {"dry": -0.8, "usual": 0.0, "wet": 0.8}  # standard deviations by which every month's inflow is off
SETTINGS: dict[str, Any] = {
    "training.selection.forward_passes": 2,
    "training.stopping_rules": [{"type": "iteration_limit", "limit": 5}],
    "simulation.selection": {"method": "sampled", "num_scenarios": 40},
}


def openings(shift: float, stages: int = 12, count: int = 10, rivers: int = 3) -> NDArray[np.float64]:
    """Noise of every stage, opening and entity: rivers that rise and fall together, wetter by ``shift``, then wind."""
    draw = np.random.default_rng(2025).standard_normal((stages, count, rivers + 2))
    draw = (draw - draw.mean(axis=1, keepdims=True)) / draw.std(axis=1, keepdims=True)
    together, own, wind = draw[..., :1], draw[..., 1:-1], draw[..., -1:]
    return np.concatenate([np.sqrt(0.75) * together + np.sqrt(0.25) * own + shift, wind], axis=-1)


class Generator(Node):
    """Openings as each belief has them, an array (stages, openings, noises)."""

    inputs = {}
    outputs = {"out": np.ndarray}

    def __init__(self, beliefs: dict[str, float]) -> None:
        self.beliefs = beliefs

    def produce(self) -> Iterator[Item]:
        for belief, shift in self.beliefs.items():
            yield Item(openings(shift), belief=belief)


class Trainer(Node):
    """A policy for the inflows that arrive, saved into a folder of its own."""

    inputs = {"in": np.ndarray}
    outputs = {"out": str}

    def __init__(self, case: str, folder: str, settings: dict[str, Any]) -> None:
        self.case, self.folder, self.settings = case, Path(folder), settings

    def initialize(self, progress: Progress) -> None:
        progress(0.1, "reading the case")
        self.loaded = cobre.CaseLoader.load(self.case, self.settings)

    def process(self, message: Any) -> Item:
        belief = message.metadata["belief"]
        believed = dataclasses.replace(self.loaded, opening_file=tuple(message.data.copy()))
        trained = cobre.train(believed)
        saved = trained.policy.save(self.folder / belief)
        return Item(str(saved), belief=belief, bound=trained.final_bound)


class Simulator(Node):
    """What a policy costs in the years that the case itself has."""

    inputs = {"in": str}
    outputs = {"out": np.ndarray}

    def __init__(self, case: str, settings: dict[str, Any]) -> None:
        self.case, self.settings = case, settings

    def initialize(self, progress: Progress) -> None:
        progress(0.1, "reading the case")
        self.loaded = cobre.CaseLoader.load(self.case, self.settings)

    def process(self, message: Any) -> Item:
        policy = cobre.Policy.load(message.data)
        # The policy was trained on other numbers: that is the question.
        simulated = cobre.simulate(self.loaded, policy, strict=False)
        return Item(simulated.costs, **message.metadata)


class Reporter(Node):
    """A line for each belief, and at the end which of them costs least."""

    inputs = {"in": np.ndarray}
    outputs = {"out": str}

    def __init__(self) -> None:
        self.means: dict[str, float] = {}

    def process(self, message: Any) -> str:
        belief, costs = message.metadata["belief"], message.data
        self.means[belief] = float(costs.mean())
        expected, mean, worst = message.metadata["bound"] / 1e6, costs.mean() / 1e6, costs.max() / 1e6
        return f"{belief:6} expects {expected:6.1f} million, costs {mean:6.1f}, at worst {worst:6.1f}"

    def finish(self) -> str:
        best = min(self.means, key=self.means.__getitem__)
        dearer = {belief: mean / self.means[best] - 1.0 for belief, mean in self.means.items() if belief != best}
        return f"{best} is best: " + ", ".join(f"{belief} costs {share:.1%} more" for belief, share in dearer.items())


def build(case: Path, folder: Path) -> Pipeline:
    """The four of them in a row."""
    return (
        Pipeline("beliefs")
        .add_node("generator", Generator, beliefs=BELIEFS)
        .add_node("trainer", Trainer, case=str(case), folder=str(folder), settings=SETTINGS)
        .add_node("simulator", Simulator, case=str(case), settings=SETTINGS)
        .add_node("reporter", Reporter)
        .connect("generator", "trainer")
        .connect("trainer", "simulator")
        .connect("simulator", "reporter")
    )


def main(case: Path = CASE) -> None:
    with tempfile.TemporaryDirectory() as folder, build(case, Path(folder)).session() as session:
        for message in session.run():
            print(message.data)
        policies = {belief: cobre.Policy.load(Path(folder) / belief) for belief in BELIEFS}

    # The same in this process: what a pipeline's nodes come to is what a script comes to.
    believed = dataclasses.replace(
        cobre.CaseLoader.load(case, SETTINGS), opening_file=tuple(openings(BELIEFS["usual"]))
    )
    assert cobre.train(believed).final_bound == policies["usual"].final_bound
    print(f"trained in this process, the usual belief expects the same: {policies['usual'].final_bound!r}")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
