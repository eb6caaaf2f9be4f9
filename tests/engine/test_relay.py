"""Events on their way to a callback: in order, merged where they pile up, and the end is never lost."""

from __future__ import annotations

import threading
import time

from cobre.engine.relay import Relay


def test_each_workers_events_come_in_their_order() -> None:
    relay = Relay()
    for number in range(5):
        relay.put(0, number)
        relay.put(1, 10 + number)
    taken = [relay.take() for _ in range(10)]
    assert [event for rank, event in taken if rank == 0] == [0, 1, 2, 3, 4]  # type: ignore[misc]
    assert [event for rank, event in taken if rank == 1] == [10, 11, 12, 13, 14]  # type: ignore[misc]


def test_what_piles_up_is_dropped_from_its_old_end() -> None:
    relay = Relay()
    for number in range(1000):
        relay.put(3, number)
    relay.put(4, "other")
    relay.finish()
    taken = []
    while (told := relay.take()) is not None:
        taken.append(told)
    assert (4, "other") in taken
    of_three = [event for rank, event in taken if rank == 3]
    assert of_three == list(range(1000 - len(of_three), 1000))
    assert 0 < len(of_three) < 100
    assert relay.dropped(3) == 1000 - len(of_three)
    assert relay.dropped(3) == 0
    assert relay.over


def test_the_end_comes_after_what_is_here_and_can_be_undone() -> None:
    relay = Relay()
    relay.put(0, "last")
    relay.finish()
    assert not relay.over
    assert relay.take() == (0, "last")
    assert relay.over
    assert relay.take() is None
    relay.begin()
    assert not relay.over


def test_waiting_ends_by_time_by_waking_and_by_an_event() -> None:
    relay = Relay()
    assert relay.take(timeout=0.01) is None
    for deed, found in ((relay.wake, None), (lambda: relay.put(2, "x"), (2, "x")), (relay.finish, None)):
        later = threading.Thread(target=lambda deed=deed: (time.sleep(0.05), deed()))  # type: ignore[misc]
        later.start()
        assert relay.take(timeout=60.0) == found
        later.join()
