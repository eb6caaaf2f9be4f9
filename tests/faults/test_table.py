"""A fixed sample of the table of faults; ``benchmarks/fault_table.py`` runs all of it."""

from __future__ import annotations

import psutil
import pytest

from cobre.testing.faults import HOWS, WHENS
from tests.faults import table


@pytest.mark.parametrize("cell", table.sample(), ids=str)
def test_a_fault_is_said_as_it_was(cell: table.Cell) -> None:
    error = table.run(cell)
    assert table.differences(cell, error) == [], str(error)
    assert error is not None
    assert not psutil.pid_exists(error.context["pid"])


def test_the_table_has_all_ways_and_moments() -> None:
    assert tuple(table.WAYS) == HOWS
    assert set(table.MOMENTS) == set(WHENS)
    sample = table.sample()
    assert {cell.how for cell in sample} == set(HOWS)
    assert {(cell.when, cell.backend) for cell in sample} >= {(when, "shm") for when in ("starting", "stopping")}
    assert {cell.when for cell in sample} == set(WHENS)
    assert set(table.IMPOSSIBLE) <= {(how, when) for how in HOWS for when in WHENS}
