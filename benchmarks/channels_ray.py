"""The writer of benchmarks/channels.py where messages go through a compiled graph of Ray: a driver and an actor."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import ray
from ray.dag import InputNode


@ray.remote
class Reader:
    def take(self, data: Any) -> tuple[int, int, int]:
        """When it has seen the first and the last byte, and these."""
        first, last = int(data[0]), int(data[-1])
        return time.perf_counter_ns(), first, last


def measure(plan: dict[str, Any], measured: Callable[..., dict[str, list[int]]]) -> dict[str, Any]:
    """Microseconds of all messages, by size and pause."""
    ray.init(num_cpus=2, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    try:
        return {str(size): one_size(plan, size, measured) for size in plan["sizes"]}
    finally:
        ray.shutdown()


def one_size(plan: dict[str, Any], size: int, measured: Callable[..., dict[str, list[int]]]) -> dict[str, list[float]]:
    reader = Reader.remote()
    with InputNode() as data:
        graph = reader.take.bind(data).experimental_compile(_buffer_size_bytes=size + (1 << 20))
    source, came, answers = np.zeros(size, np.uint8), [], []

    def send(first: int, last: int) -> None:
        if first == last:  # not the end
            source[0], source[-1] = first, last
            answers.append(graph.execute(source))

    def answer() -> None:
        moment, first, last = ray.get(answers.pop())
        assert first == last == int(source[0])
        came.append(moment)

    try:
        sent = measured(plan, send, answer)
    finally:
        graph.teardown()
        ray.kill(reader)
    arrivals = iter(came[len(came) - sum(map(len, sent.values())) :])
    return {pause: [(next(arrivals) - before) / 1e3 for before in times] for pause, times in sent.items()}
