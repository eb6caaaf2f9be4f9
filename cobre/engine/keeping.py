"""What a worker keeps of a training, so that all can go on from there when another one is lost."""

from __future__ import annotations

import numpy as np

from cobre.engine.sharing import tell_all
from cobre.sddp.state import TrainingState
from cobre.transport.communicator import Communicator

__all__ = ["Kept"]


class Kept:
    """The state of a training after its last completed iteration, as one rank has it.

    It follows from what all ranks have exchanged, so that it is the same whoever gives it: where ranks have come to
    different iterations, the furthest one counts, and nothing that anybody has completed is done again.
    """

    def __init__(self) -> None:
        self.state: TrainingState | None = None

    def keep(self, state: TrainingState) -> None:
        """An iteration is complete."""
        self.state = state

    def agreed(self, communicator: Communicator) -> TrainingState | None:
        """Collective. The state from which all go on, None for the beginning. Raises CommError."""
        mine = 0 if self.state is None else self.state.iteration
        all_have = communicator.allgatherv(np.array([mine]), [1] * communicator.size)
        if (all_have < all_have.max()).any():
            self.state = tell_all(communicator, self.state, int(np.argmax(all_have)))
        return self.state
