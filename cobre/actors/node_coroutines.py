"""Where the coroutines of a node run."""

from __future__ import annotations

from typing import Any

__all__ = ["Coroutines"]


class Coroutines:
    """Runs what is to be awaited in one event loop, made when first needed."""

    def __init__(self) -> None:
        self._runner: Any = None

    def settled(self, result: Any) -> Any:
        """What a coroutine returns, when it has run; anything else as it is."""
        if not hasattr(result, "__await__"):
            return result
        if self._runner is None:
            import asyncio  # takes as long to import as all else in this process

            self._runner = asyncio.Runner()
        return self._runner.run(_awaited(result))

    def close(self) -> None:
        """Ends the event loop, if there is one."""
        if self._runner is not None:
            self._runner.close()
            self._runner = None


async def _awaited(waiting: Any) -> Any:
    return await waiting
