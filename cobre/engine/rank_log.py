"""What a worker logs: it goes to stderr, which the run's owner passes on, with the rank in front."""

from __future__ import annotations

import logging
from typing import Any

__all__ = ["log_with_rank"]


class _RankHandler(logging.StreamHandler[Any]):
    """To stderr, which the run's owner passes on."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter(f"[rank {rank}] %(levelname)s %(name)s: %(message)s"))


def log_with_rank(rank: int, level: int) -> None:
    """Has the library's messages from ``level`` up go to stderr, and nowhere else."""
    logger = logging.getLogger("cobre")
    for handler in [handler for handler in logger.handlers if isinstance(handler, _RankHandler)]:
        logger.removeHandler(handler)
    logger.addHandler(_RankHandler(rank))
    logger.setLevel(level)
    logger.propagate = False
