"""Collectives between the ranks of a run: one contract, and what it runs over (nothing, shared memory, TCP)."""

from cobre.transport.communicator import Communicator, ReduceOp, SharedRegion
from cobre.transport.select import create_communicator

__all__ = ["Communicator", "ReduceOp", "SharedRegion", "create_communicator"]
