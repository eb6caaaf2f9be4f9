"""The life of processes as a state machine, without a process and without a clock."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cobre.supervisor.lifecycle import (
    SHOWING,
    Added,
    Ask,
    Ended,
    Event,
    Instruction,
    Kill,
    KillAsked,
    Launch,
    Launched,
    LaunchFailed,
    Lifecycle,
    Ready,
    Report,
    Sampled,
    Show,
    Step,
    StopAsked,
    Terminate,
    Tick,
)
from cobre.supervisor.records import Grace, Limits

GRACE = Grace(ask=5.0, terminate=2.0)


def running(*keys: int, limits: Limits | None = None, together: bool = False) -> Lifecycle:
    """A machine in which these are ready, at second 0."""
    machine = Lifecycle(together=together)
    for key in keys or (1,):
        assert machine.handle(Added(0.0, key, limits or Limits())) == [Launch(key)]
        assert machine.handle(Launched(0.0, key)) == []
        assert machine.handle(Ready(0.0, key)) == []
    return machine


def sample(at: float, *, key: int = 1, memory: int = 1, beats: int = 0, **words: bool) -> Sampled:
    seen = {"busy": False, "waiting": False, "stopped": False, **words}
    return Sampled(at, key, memory, beats, **seen)


def test_the_ladder_asks_terminates_and_kills_each_at_its_time() -> None:
    machine = running()
    assert machine.handle(StopAsked(10.0, (1,), GRACE)) == [Ask(1)]
    assert machine.deadline == 15.0
    assert machine.handle(Tick(14.9)) == []
    assert machine.handle(Tick(15.0)) == [Terminate(1)]
    assert machine.deadline == 17.0
    assert machine.handle(Tick(16.9)) == []
    assert machine.handle(Tick(17.0)) == [Kill(1)]
    assert machine.deadline == math.inf
    assert machine.handle(Ended(17.1, 1, None, "SIGKILL")) == [Report(1, "stopped", True, None, "SIGKILL", 17.1)]
    assert machine.keys == ()


def test_one_that_is_asked_without_grace_has_all_the_time_it_takes() -> None:
    machine = running()
    assert machine.handle(StopAsked(1.0, (1,), None)) == [Ask(1)]
    assert machine.deadline == math.inf
    assert machine.handle(Tick(1e9)) == []
    assert machine.handle(Ended(1e9, 1, 0, None)) == [Report(1, "stopped", True, 0, None, 1e9)]


def test_a_second_demand_to_stop_asks_no_second_time_and_only_shortens() -> None:
    machine = running()
    machine.handle(StopAsked(0.0, (1,), Grace(10.0, 3.0)))
    assert machine.handle(StopAsked(1.0, (1,), Grace(100.0, 3.0))) == []
    assert machine.deadline == 10.0
    assert machine.handle(StopAsked(2.0, (1,), Grace(1.0, 3.0))) == []
    assert machine.deadline == 3.0
    assert machine.handle(StopAsked(2.5, (1,), None)) == []
    assert machine.handle(Tick(3.0)) == [Terminate(1)]
    assert machine.deadline == 6.0


@pytest.mark.parametrize(
    ("before", "code", "signal", "cause", "deliberate"),
    [
        ("running", 0, None, "exited", False),
        ("running", 3, None, "exited", False),
        ("running", None, "SIGSEGV", "crashed", False),
        ("running", None, "SIGKILL", "killed from outside", False),
        ("running", None, "SIGTERM", "killed from outside", False),
        ("running", None, None, "unknown", False),
        ("asked", 0, None, "stopped", True),
        ("asked", 3, None, "exited", False),  # it failed on its way out
        ("asked", None, "SIGSEGV", "crashed", False),
        ("asked", None, "SIGKILL", "killed from outside", False),
        ("terminated", None, "SIGTERM", "stopped", True),
        ("terminated", 143, None, "stopped", True),  # its handler turned the signal into an exit code
        ("terminated", None, "SIGSEGV", "crashed", False),
        ("ladder", None, "SIGKILL", "stopped", True),
        ("ladder", None, "SIGTERM", "stopped", True),
        ("killed", None, "SIGKILL", "killed", True),
        ("killed", None, None, "killed", True),
        ("killed", 3, None, "exited", False),  # it had failed before the signal came
        ("killed", None, "SIGSEGV", "crashed", False),
        ("killed", 0, None, "killed", True),
        ("condemned", None, "SIGUSR1", "hang", False),  # it did not know what that meant
        ("condemned", 3, None, "exited", False),
        ("condemned", None, "SIGSEGV", "crashed", False),
        ("limit", None, "SIGKILL", "memory limit", False),
        ("limit", 0, None, "exited", False),
    ],
)
def test_what_we_did_is_the_cause_only_where_the_end_looks_like_it(
    before: str, code: int | None, signal: str | None, cause: str, deliberate: bool
) -> None:
    machine = running(limits=Limits(memory_bytes=100, hang_seconds=3.0))
    if before in ("asked", "terminated", "ladder"):
        machine.handle(StopAsked(0.0, (1,), GRACE))
    if before in ("terminated", "ladder"):
        assert machine.handle(Tick(5.0)) == [Terminate(1)]
    if before == "ladder":
        assert machine.handle(Tick(7.0)) == [Kill(1)]
    if before == "killed":
        assert machine.handle(KillAsked(0.0, (1,), "killed")) == [Kill(1)]
    if before == "condemned":
        for at in (9.0, 10.5):
            assert machine.handle(sample(at, busy=True)) == []
        assert machine.handle(sample(12.0, busy=True)) == [Show(1)]
        assert machine.handle(Ended(13.0, 1, code, signal)) == [Report(1, cause, deliberate, code, signal, 13.0)]
        return
    if before == "limit":
        assert machine.handle(sample(1.0, memory=101)) == [Kill(1)]
    assert machine.handle(Ended(9.0, 1, code, signal)) == [Report(1, cause, deliberate, code, signal, 9.0)]


def test_a_failure_is_the_fate_of_all_others_when_they_live_together() -> None:
    machine = running(1, 2, 3, together=True)
    machine.handle(KillAsked(0.5, (3,), "killed"))
    todo = machine.handle(Ended(1.0, 2, None, "SIGSEGV"))
    assert todo == [Kill(1), Report(2, "crashed", False, None, "SIGSEGV", 1.0)]  # the kill first: nothing waits for it
    assert machine.handle(Ended(1.1, 1, None, "SIGKILL")) == [Report(1, "fate", True, None, "SIGKILL", 1.1)]
    assert machine.handle(Ended(1.1, 3, None, "SIGKILL")) == [Report(3, "killed", True, None, "SIGKILL", 1.1)]


def test_a_second_failure_is_a_failure_and_not_fate() -> None:
    machine = running(1, 2, together=True)
    machine.handle(Ended(1.0, 2, 3, None))
    assert machine.handle(Ended(1.0, 1, 4, None)) == [Report(1, "exited", False, 4, None, 1.0)]


def test_a_deliberate_end_is_nobody_elses_fate() -> None:
    machine = running(1, 2, together=True)
    machine.handle(KillAsked(0.5, (2,), "killed"))
    assert machine.handle(Ended(1.0, 2, None, "SIGKILL")) == [Report(2, "killed", True, None, "SIGKILL", 1.0)]
    assert machine.step(1) == Step.RUNNING


def test_one_that_is_not_ready_in_time_is_killed() -> None:
    machine = Lifecycle()
    machine.handle(Added(0.0, 1, Limits(start_seconds=3.0)))
    machine.handle(Launched(1.0, 1))
    assert machine.deadline == 4.0
    assert machine.handle(Tick(4.0)) == [Show(1)]
    assert machine.handle(Ready(4.1, 1)) == []  # too late
    assert machine.handle(Tick(4.0 + SHOWING)) == [Kill(1)]
    assert machine.handle(Ended(4.1, 1, None, "SIGKILL"))[0].cause == "start limit"  # type: ignore[attr-defined]


@pytest.mark.parametrize(("demand", "todo"), [("kill", Kill(1)), ("terminate", Terminate(1))])
def test_what_cannot_be_done_before_the_launch_is_done_after_it(demand: str, todo: Instruction) -> None:
    machine = Lifecycle()
    machine.handle(Added(0.0, 1))
    if demand == "kill":
        assert machine.handle(KillAsked(0.1, (1,), "killed")) == []
    else:
        assert machine.handle(StopAsked(0.1, (1,), GRACE)) == [Ask(1)]  # a word can wait in the connection
        assert machine.handle(Tick(6.0)) == []
    assert machine.handle(Launched(6.5, 1)) == [todo]


@pytest.mark.parametrize("wanted", [False, True])
def test_a_launch_that_fails_is_an_end(wanted: bool) -> None:
    machine = running(1, 2, together=True)
    machine.handle(Added(0.0, 3))
    if wanted:
        machine.handle(KillAsked(0.0, (3,), "killed"))
    todo = machine.handle(LaunchFailed(0.5, 3))
    assert todo[-1] == Report(3, "not started", wanted, None, None, 0.5)
    assert todo[:-1] == ([] if wanted else [Kill(1), Kill(2)])


def test_a_hang_is_to_be_busy_without_a_beat_for_too_long() -> None:
    machine = running(limits=Limits(hang_seconds=3.0))
    for at in (1.0, 2.0, 3.0, 3.9):
        assert machine.handle(sample(at, busy=True, beats=1)) == []
    assert machine.handle(sample(4.0, busy=True, beats=1)) == [Show(1)]
    assert machine.handle(sample(4.1, busy=True, beats=1)) == []
    assert machine.handle(Tick(4.0 + SHOWING)) == [Kill(1)]
    assert machine.handle(Ended(4.1, 1, None, "SIGKILL")) == [Report(1, "hang", False, None, "SIGKILL", 4.1)]


def test_a_supervisor_that_was_held_up_itself_looks_again() -> None:
    """As after Ctrl-Z and fg, which stop and continue all of a run: nobody moved, and nobody hangs."""
    machine = running(limits=Limits(hang_seconds=3.0))
    assert machine.handle(sample(1.0, busy=True, beats=1)) == []
    assert machine.handle(sample(1000.0, busy=True, beats=1)) == []
    assert machine.handle(sample(1000.5, busy=True, beats=2)) == []
    assert machine.handle(sample(2000.0, busy=True, beats=2)) == []
    assert machine.handle(sample(2001.6, busy=True, beats=2)) == [Show(1)]


@pytest.mark.parametrize("words", [{"busy": False}, {"busy": True, "waiting": True}])
def test_one_that_is_idle_or_waits_for_others_does_not_hang(words: dict[str, bool]) -> None:
    machine = running(limits=Limits(hang_seconds=3.0))
    for at in range(1, 100):
        assert machine.handle(sample(float(at), **words)) == []
    for at in (100.0, 101.0):  # from now on it counts
        assert machine.handle(sample(at, busy=True)) == []
    assert machine.handle(sample(102.0, busy=True)) == [Show(1)]


@pytest.mark.parametrize("words", [{"busy": False}, {"busy": True, "waiting": True}, {"busy": True}])
def test_one_that_is_stopped_hangs_whatever_its_board_says(words: dict[str, bool]) -> None:
    machine = running(limits=Limits(hang_seconds=3.0))
    machine.handle(sample(1.0, **words))
    for at in (2.0, 3.0, 3.5):
        assert machine.handle(sample(at, stopped=True, **words)) == []
    assert machine.handle(sample(5.0, stopped=True, **words)) == [Show(1)]


def test_one_that_hangs_can_still_be_stopped_in_good_order() -> None:
    machine = running(limits=Limits(hang_seconds=3.0))
    for at in (1.0, 2.5):
        machine.handle(sample(at, busy=True))
    assert machine.handle(sample(4.0, busy=True)) == [Show(1)]
    assert machine.handle(StopAsked(4.1, (1,), GRACE)) == [Ask(1)]
    assert machine.handle(Tick(4.0 + SHOWING)) == []
    assert machine.handle(Tick(9.1)) == [Terminate(1)]


def test_beats_are_progress() -> None:
    machine = running(limits=Limits(hang_seconds=3.0))
    for at in range(0, 100, 2):
        assert machine.handle(sample(float(at), busy=True, beats=at)) == []


def test_without_limits_nothing_is_ended() -> None:
    machine = running(limits=Limits(start_seconds=None))
    assert machine.handle(sample(1e9, memory=1 << 60, busy=True, stopped=True)) == []
    assert machine.deadline == math.inf


KEYS = st.integers(0, 3)
CODES = st.sampled_from([(0, None), (3, None), (None, "SIGKILL"), (None, "SIGTERM"), (None, "SIGSEGV"), (None, None)])
LIMITS = st.builds(Limits, st.sampled_from([None, 10]), st.sampled_from([None, 2.0]), st.sampled_from([None, 3.0]))
GRACES = st.sampled_from([None, Grace(0.0, 0.0), GRACE])
GROUPS = st.lists(KEYS, max_size=4).map(tuple)


def at_any_time(draw: st.DrawFn, at: float) -> Event:
    key = draw(KEYS)
    flags = {name: draw(st.booleans()) for name in ("busy", "waiting", "stopped")}
    return draw(
        st.sampled_from(
            [
                Added(at, key, draw(LIMITS)),
                Launched(at, key),
                LaunchFailed(at, key),
                Ready(at, key),
                Sampled(at, key, draw(st.sampled_from([1, 11])), draw(st.integers(0, 2)), **flags),
                StopAsked(at, draw(GROUPS), draw(GRACES)),
                KillAsked(at, draw(GROUPS), draw(st.sampled_from(["killed", "because"]))),
                Ended(at, key, *draw(CODES)),
                Tick(at),
            ]
        )
    )


@st.composite
def histories(draw: st.DrawFn) -> list[Event]:
    at, events = 0.0, []
    for _ in range(draw(st.integers(0, 40))):
        at += draw(st.sampled_from([0.0, 0.5, 2.0, 6.0]))
        events.append(at_any_time(draw, at))
    return events


@settings(max_examples=settings().max_examples // 2)
@given(histories(), st.booleans())
def test_in_any_order_of_events_each_ends_once_and_is_reported_once(events: list[Event], together: bool) -> None:
    machine = Lifecycle(together=together)
    begun: Counter[int] = Counter()
    reported: Counter[int] = Counter()
    step: dict[int, Step] = {}
    for event in events:
        todo = machine.handle(event)
        for each in todo:
            begun[each.key] += isinstance(each, Launch)
            reported[each.key] += isinstance(each, Report)
            assert begun[each.key] >= 1, "nothing is done to what was never added"
            assert begun[each.key] - reported[each.key] in (0, 1)
            if isinstance(each, Report):
                assert type(event) in (Ended, LaunchFailed)
                assert each.seconds >= 0.0
                step.pop(each.key, None)
            elif begun[each.key] == reported[each.key]:
                pytest.fail(f"{each} for one that has ended")
        for key in machine.keys:
            now = machine.step(key)
            assert now is not None
            assert now >= step.get(key, Step.LAUNCHING), "a life never goes back"
            step[key] = now
        if together and any(isinstance(each, Report) and not each.deliberate for each in todo):
            assert all(machine.step(key) == Step.KILLED for key in machine.keys)
    assert set(machine.keys) == {key for key in begun if begun[key] > reported[key]}


@settings(max_examples=settings().max_examples // 2)
@given(histories(), st.booleans())
def test_after_any_history_the_ladder_ends_what_is_left(events: list[Event], together: bool) -> None:
    machine = Lifecycle(together=together)
    at, there, doomed = 0.0, set[int](), set[int]()
    for event in events:
        at = event.at
        note(machine.handle(event), event, there, doomed)
    left = machine.keys
    for key in left:
        note(machine.handle(Launched(at, key)), Launched(at, key), there, doomed)
    note(machine.handle(StopAsked(at, left, GRACE)), None, there, doomed)
    for _ in range(2):
        at += 10.0
        note(machine.handle(Tick(at)), None, there, doomed)
    assert set(machine.keys) <= doomed, "each was told to die by a signal that cannot be refused"
    for key in machine.keys:
        assert [type(todo) for todo in machine.handle(Ended(at, key, None, "SIGKILL"))] == [Report]
    assert machine.keys == ()
    assert machine.deadline == math.inf


def note(todo: list[Instruction], event: Event | None, there: set[int], doomed: set[int]) -> None:
    """Follows which processes are there and which were killed."""
    if isinstance(event, Launched):
        there.add(event.key)
    for each in todo:
        if isinstance(each, Kill):
            assert each.key in there, "what is not there cannot be killed"
            doomed.add(each.key)
        if isinstance(each, Launch | Report):
            there.discard(each.key)
            doomed.discard(each.key)
