"""The tables of states agree with their enums, and every way ends."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import pytest

from cobre.actors.node_states import NODE_TRANSITIONS, SESSION_TRANSITIONS, NodeState, SessionState


@pytest.mark.parametrize(
    ("states", "table", "last"),
    [(NodeState, NODE_TRANSITIONS, NodeState.STOPPED), (SessionState, SESSION_TRANSITIONS, SessionState.STOPPED)],
)
def test_every_state_has_a_way_to_the_last(states: type[StrEnum], table: dict[Any, frozenset[Any]], last: Any) -> None:
    assert set(table) == set(states)
    assert table[last] == frozenset()
    for state in states:
        seen, waiting = {state}, [state]
        while waiting:
            new = table[waiting.pop()] - seen
            seen |= new
            waiting += new
        assert last in seen
