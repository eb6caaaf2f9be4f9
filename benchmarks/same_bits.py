"""Whether every way of running gives the same bits: all shared cases and ten random problems, however they are run.

    python benchmarks/same_bits.py [--workers 1 2 3 4 7] [--backends local shm tcp] [--only NAME ...] [--runs 2]

Each is trained and simulated with every backend and number of workers, several times in a row, and once with its units
of work in random order. Compared are bounds, cuts, the files of the saved policy and the files and costs of the
simulation, byte for byte. A line for each problem; the exit code is 1 if any run differs.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

import cobre
from cobre.hydro.load import load_case
from cobre.hydro.stage_lp import build_problem
from cobre.sddp.builder import StageBuilder, chain
from cobre.sddp.contracts import Shuffled
from cobre.sddp.problem import Problem
from cobre.sddp.risk import CVaR, Expectation
from cobre.sddp.settings import Sampled, TrainingSettings
from cobre.sddp.stopping import IterationLimit
from cobre.sddp.training import train

CASES = Path(__file__).resolve().parents[2] / "shared" / "cases"
ITERATIONS = 12
SCENARIOS = 40
SEED = 42


def random_problem(seed: int) -> Problem:
    """Stores in a row that serve a demand together with dear and cheap sources; sizes, noise and risk are random."""
    random = np.random.default_rng(seed)
    names = [f"store{i}" for i in range(int(random.integers(1, 5)))]
    risk = CVaR(float(random.uniform(0.2, 1.0)), float(random.uniform(0.0, 1.0))) if seed % 2 else Expectation()
    built = []
    for t in range(int(random.integers(2, 7))):
        stage = StageBuilder(f"stage {t}", discount=float(random.uniform(0.9, 1.0)), risk=risk)
        served = {"missing": 1.0}
        stage.variable("missing", cost=400.0)
        for i in range(int(random.integers(1, 5))):
            served[stage.variable(f"source{i}", 0.0, float(random.uniform(5, 20)), float(random.uniform(5, 60)))] = 1.0
        for name in names:
            stage.state(name, 0.0, 80.0)
            stage.variable(f"use {name}", 0.0, 25.0, 0.01)
            stage.variable(f"spill {name}", cost=0.02)
            flows = {f"{name}.out": 1.0, f"{name}.in": -1.0, f"use {name}": 1.0, f"spill {name}": 1.0}
            stage.constraint(f"balance {name}", flows, "==", 0.0)
            served[f"use {name}"] = float(random.uniform(0.5, 1.0))
        stage.constraint("demand", served, ">=", float(random.uniform(30, 90)))
        count = int(random.integers(1, 9))
        for _ in range(count):
            stage.opening(1.0 / count, rhs={f"balance {name}": float(random.gamma(2.0, 6.0)) for name in names})
        built.append(stage)
    return chain(built, initial_state=dict.fromkeys(names, 30.0), name=f"random {seed}")


def subjects(only: list[str]) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """Name, case or problem, and settings."""
    settings: dict[str, Any] = {"training.tree_seed": SEED}
    simulation = {"simulation.selection": {"method": "sampled", "num_scenarios": SCENARIOS}}
    found: list[tuple[str, Any, dict[str, Any]]] = []
    for path in sorted(CASES.iterdir() if CASES.is_dir() else ()):
        if path.is_dir():
            limit = [{"type": "iteration_limit", "limit": ITERATIONS}]
            cut = {"training.stopping_rules": limit} if path.name == "4ree" else {}
            found.append((path.name, path, settings | simulation | cut))
    for seed in range(10):
        passes = {"training.selection": {"method": "sampled", "forward_passes": 1 + seed % 5}}
        rules = {"training.stopping_rules": [{"type": "iteration_limit", "limit": ITERATIONS}]}
        found.append((f"random {seed}", random_problem(seed), settings | simulation | passes | rules))
    return (entry for entry in found if not only or entry[0] in only)


def digest_of_run(subject: Any, settings: dict[str, Any], **placed: Any) -> tuple[str, str]:
    """Digests of a whole run, and of its bounds and cuts alone."""
    with tempfile.TemporaryDirectory() as folder:
        trained = cobre.train(subject, settings, output_directory=f"{folder}/train", **placed)
        simulated = cobre.simulate(subject, trained.policy, settings, output_directory=f"{folder}/simulate", **placed)
        cuts = digest_of_cuts(trained.convergence_history.column("lower_bound").to_numpy(), trained.policy)
        whole = hashlib.sha256(cuts.encode() + simulated.costs.tobytes())
        for root in (Path(folder) / "train" / "policy", Path(folder) / "simulate" / "simulation"):
            for file in sorted(path for path in root.rglob("*") if path.is_file()):
                whole.update(str(file.relative_to(root)).encode() + file.read_bytes())
    return whole.hexdigest(), cuts


def digest_of_cuts(bounds: Any, policy: cobre.Policy) -> str:
    digest = hashlib.sha256(np.asarray(bounds, np.float64).tobytes())
    for stage in policy.stages:
        for values in (stage.intercepts, stage.coefficients, stage.active):
            digest.update(values.tobytes())
    return digest.hexdigest()


def shuffled(subject: Any, settings: dict[str, Any]) -> str:
    """Bounds and cuts of a training whose units are computed in random order."""
    if isinstance(subject, Problem):
        passes = settings["training.selection"]["forward_passes"]
        problem, training = subject, TrainingSettings(Sampled(passes), (IterationLimit(ITERATIONS),), seed=SEED)
    else:
        case = load_case(subject, settings)
        problem, training = build_problem(case).problem, case.training
    outcome = train(problem, training, exchange=Shuffled(1))
    lower = [record.lower_bound for record in outcome.records]
    return digest_of_cuts(lower, cobre.Policy.of(outcome))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 3, 4, 7])
    parser.add_argument("--backends", nargs="+", default=["local", "shm", "tcp"])
    parser.add_argument("--only", nargs="+", default=[])
    parser.add_argument("--runs", type=int, default=2)
    arguments = parser.parse_args()
    failed = 0
    for name, subject, settings in subjects(arguments.only):
        began, runs, different = perf_counter(), 0, []
        whole, cuts = digest_of_run(subject, settings, backend="local")
        for backend in arguments.backends:
            for workers in [1] if backend == "local" else arguments.workers:
                for run in range(arguments.runs):
                    runs += 1
                    if digest_of_run(subject, settings, backend=backend, num_workers=workers)[0] != whole:
                        different.append(f"{backend} with {workers}, run {run + 1}")
        runs += 1
        if shuffled(subject, settings) != cuts:
            different.append("shuffled")
        verdict = "same bits" if not different else f"DIFFERENT: {'; '.join(different)}"
        print(f"{name:34} {runs:3} runs {perf_counter() - began:7.1f} s  {verdict}", flush=True)
        failed += bool(different)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
