"""Train on many processes: each worker's progress, what each of them did, and the same bits as one process.

Usage: python examples/train_on_workers.py [WORKERS [CASE]]
"""

import sys
from pathlib import Path

import cobre

CASE = Path(__file__).parent / "cases" / "three-dams"
SETTINGS = {
    "training.selection.forward_passes": 4,
    "training.stopping_rules": [{"type": "iteration_limit", "limit": 5}],
}


def show(event: cobre.ProgressEvent) -> None:
    """Called with every worker's events, in this process; those of rank 0 are the run's history."""
    if event.worker_id == 0:
        print(f"iteration {event.iteration:3}  bound {event.lower_bound:14,.0f}")


def main(workers: int = 2, case: Path = CASE) -> None:
    try:
        trained = cobre.train(case, SETTINGS, show, num_workers=workers, hang_timeout=300.0)
    except cobre.WorkerError as error:  # nothing of the run is left by now
        where = {name: error.context.get(name) for name in ("phase", "iteration", "stage")}
        sys.exit(f"{error.kind}: {error.message}\nwhere: {where}\nwhat to do: {error.suggestion}")

    for worker in trained.workers or ():
        computing = 1.0 - worker.collective_time_ms / max(worker.wall_time_ms, 1)
        memory = (worker.memory_bytes or 0) / 2**20
        print(f"worker {worker.rank}: {worker.solves} solves, computing {computing:.0%} of the time, {memory:.0f} MB")

    alone = cobre.train(case, SETTINGS)
    assert alone.final_bound == trained.final_bound
    print(f"one process comes to the same bits: {alone.final_bound!r}")


# No "if" is needed for the workers' sake, which never run this file; this one lets tests import it.
if __name__ == "__main__":
    main(*(convert(given) for convert, given in zip((int, Path), sys.argv[1:], strict=False)))
