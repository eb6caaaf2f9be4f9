"""The conformance suite's checks of what is in a message, and of how long it stays there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from cobre.testing.channels_data import Bench, Call, arrays, pattern, refusal, require_same
from cobre.transport.media import Audio, Video

__all__ = ["MESSAGE_CHECKS"]

Check = Callable[[Bench], None]


def check_arrays_come_out_as_they_went_in(bench: Bench) -> None:
    """Of every dtype, shape and order in memory, twice in a row: shape, dtype and bytes."""
    with bench.open("arrays", bytes=1 << 20) as at:
        for number, array in enumerate(arrays()):
            for _ in range(2):
                at.publish(array)
                message = at.receive()
                what = f"array {number} ({array.dtype} {array.shape})"
                require_same(message.data, array, what)
                assert (message.kind, message.shape, message.dtype) == ("array", array.shape, array.dtype), what
                assert message.size == message.view.size == array.nbytes, what
                require_same(message.view, np.frombuffer(array.tobytes(), np.uint8), f"the bytes of {what}")


def check_text_bytes_sound_and_pictures(bench: Bench) -> None:
    """Each comes out as what it went in, of its kind."""
    samples = np.linspace(-1.0, 1.0, 320, dtype=np.float32)
    frame = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    everything: list[tuple[str, Any]] = [
        *(("text", text) for text in ("grüße", "", "a\0b", "x" * 100_000)),
        *(("bytes", data) for data in (b"\x00\xff", b"", bytes(range(256)) * 300)),
        *(("audio", Audio(samples.reshape(shape), 16_000.0)) for shape in ((320,), (160, 2))),
        *(("video", Video(frame, fps, form)) for fps, form in ((25.0, "rgb24"), (0.0, "bgr"))),
    ]
    with bench.open("media", session="of this one") as at:
        for kind, data in everything:
            at.publish(data)
            message = at.receive()
            require_same(message.data, data, kind)
            assert message.kind == kind, f"{kind} came out as {message.kind}"
            assert message.session == "of this one"
        for data in (bytearray(b"abc"), memoryview(b"abc")):
            at.publish(data)
            require_same(at.receive().data, b"abc", type(data).__name__)


def check_metadata_goes_with_its_message(bench: Bench) -> None:
    """Little and much of it, of every kind that JSON has; a message without any has none."""
    words: list[dict[str, Any]] = [
        {"number": 3},
        {},
        {"nested": {"a": [1, 2.5, None, True, "grüße"]}, "long": "x" * 500},
        {},
        {f"key {i}": i for i in range(100)},
        {},
    ]
    with bench.open("metadata", capacity=3) as at:
        for metadata in words * 2:
            for data in (pattern(1), "text", np.zeros(2, [("a", "i4")]), np.zeros(0)):
                at.publish(data, **metadata)
                with at.writer.loan(3, np.int16, timeout=bench.patience) as loan:
                    loan.array[...] = 5
                    loan.metadata.update(metadata)
                for what in ("published", "lent"):
                    found = at.receive().metadata
                    assert found == metadata, f"{what} with {metadata}, received with {found}"
        refusal(lambda: at.writer.publish("x", bench.patience, what=object()), "WrongType", channel="metadata")
        at.publish("after", number=1)
        assert (at.receive().data, at.reader.try_receive()) == ("after", None), "what was refused arrived"


def check_messages_say_where_they_come_from(bench: Bench) -> None:
    """Numbers from 0 and rising times for each writer, whatever happens in between; channel and session."""
    seen: dict[int, list[tuple[int, int]]] = {0: [], 1: []}
    with bench.open("origins", writers=2, session="s") as at:
        for number in range(12):
            writer = (number * 5 // 3) % 2
            at.publish(pattern(number), writer)
            if number % 4 == 0:
                with at.writers[writer].loan(10, timeout=bench.patience) as loan:
                    loan.drop()
            message = at.receive()
            assert (message.channel, message.session, message.writer) == ("origins", "s", writer)
            seen[writer].append((message.sequence, message.timestamp))
    for messages in seen.values():
        assert [sequence for sequence, _ in messages] == list(range(len(messages))), f"numbers: {messages}"
        times = [time for _, time in messages]
        assert times == sorted(set(times)), f"times do not rise: {times}"


def check_shapes_that_change(bench: Bench) -> None:
    """Messages of all sizes and kinds follow each other through few slots, often of the same sort several times."""
    draw = np.random.default_rng(5)
    sorts: list[Callable[[int], Any]] = [
        lambda n: pattern(n, 50),
        lambda n: pattern(n, 50).reshape(5, 10),
        lambda n: pattern(n, 51).astype(np.float32),
        lambda n: pattern(n, 3000),
        lambda n: str(n) * 20,
        lambda n: np.full((), n, ">u2"),
        lambda n: np.full(n % 5, n, np.int16),
    ]
    with bench.open("shapes", capacity=3, bytes=160 << 10) as at:
        number = received = 0
        while received < 150:
            for _ in range(int(draw.integers(1, 4))):
                sort = sorts[int(draw.integers(len(sorts)))] if draw.random() < 0.5 else sorts[number // 10 % 4]
                at.publish(sort(number), sort=sorts.index(sort)) if number % 3 else at.publish(sort(number))
                expected = sort(number)
                number += 1
                message = at.receive()
                require_same(message.data, expected, f"message {received}")
                assert message.metadata.get("sort", sorts.index(sort)) == sorts.index(sort)
                received += 1


def check_loans(bench: Bench) -> None:
    """Filled in place; published by leaving the block, unless by an exception; one at a time."""
    with bench.open("loans", capacity=3) as at:
        with at.writer.loan((3, 4), np.int32, timeout=bench.patience) as loan:
            loan.array[...] = pattern(0, 12).reshape(3, 4)
            kept = loan.array
            refusal(lambda: at.writer.publish("x"), "LoanOpen", channel="loans")
            refusal(lambda: at.writer.loan(1), "LoanOpen", channel="loans")
        assert not kept.flags.writeable, "what was lent can be written to after it was published"
        try:
            with at.writer.loan(5, timeout=bench.patience) as loan:
                loan.array[...] = 1
                raise ZeroDivisionError
        except ZeroDivisionError:
            pass
        for kind, shape, dtype, rate in (("audio", (8, 2), np.float32, 44_100.0), ("video", (2, 2, 3), np.uint8, 9.0)):
            with at.writer.loan(shape, dtype, kind=kind, rate=rate, format="", timeout=bench.patience) as loan:
                loan.array[...] = 3
        require_same(at.receive().data, pattern(0, 12).reshape(3, 4).astype(np.int32), "what was lent")
        require_same(at.receive().data, Audio(np.full((8, 2), 3, np.float32), 44_100.0), "sound that was lent")
        require_same(at.receive().data, Video(np.full((2, 2, 3), 3, np.uint8), 9.0, ""), "a picture that was lent")
        assert at.reader.try_receive() is None, "a loan that was dropped arrived"
        with at.writer.loan(4, kind="bytes", timeout=bench.patience) as loan:
            loan.array[...] = list(b"abcd")
        require_same(at.receive().data, b"abcd", "bytes that were lent")
        refusal(lambda: at.writer.loan(4, kind="text"), "WrongType", channel="loans")
        refusal(lambda: at.writer.loan((2, -1)), "OutOfRange", channel="loans")
        refusal(lambda: at.writer.loan(2, object), "WrongType", channel="loans")


def check_what_is_published_is_the_writers_again(bench: Bench) -> None:
    """Changing it afterwards changes no message."""
    with bench.open("copies") as at:
        array = pattern(3)
        for number in range(3):
            array[...] = pattern(number)
            at.publish(array)
        array[...] = -1
        for number in range(3):
            require_same(at.receive().data, pattern(number), f"message {number}")


def check_messages_hold_until_the_next(bench: Bench) -> None:
    """And no longer: what was released says so. A copy is the reader's own."""
    with bench.open("released", capacity=3) as at:
        for number in range(3):
            at.publish(pattern(number), number=number)
        first = at.receive()
        copy = first.copy()
        second = at.receive()
        assert first.released
        assert not second.released
        refusal(lambda: first.data, "Released", channel="released")
        refusal(lambda: first.view, "Released", channel="released")
        refusal(first.copy, "Released", channel="released")
        with second:
            require_same(second.data, pattern(1), "within its block")
        assert second.released
        second.release()
        third = at.receive()
        third.release()
        assert third.released
        for number in range(3, 9):
            at.publish(pattern(number))
            require_same(at.receive().data, pattern(number), f"message {number}")
        require_same(copy.data, pattern(0), "a copy")
        assert (copy.metadata, copy.sequence, copy.kind) == ({"number": 0}, 0, "array")


def check_views_keep_what_they_show(bench: Bench) -> None:
    """A view that lives is named by whoever releases its message; its memory is used for nothing else."""
    with bench.open("views", capacity=3) as at:
        at.publish(pattern(0))
        first = at.receive()
        part = first.data[10:20]
        error = refusal(first.release, "ViewAlive", channel="views")
        assert error.context["sequence"] == 0, f"it does not say which message: {error}"
        assert not first.released
        for number in range(1, 3):
            at.publish(pattern(number))
            require_same(at.receive().data, pattern(number), "while a view of another one lives")
        for _ in range(6):
            if not at.writer.try_publish(pattern(9)):
                break
            at.reader.try_receive()
        require_same(part, pattern(0)[10:20], "a view that was kept")
        bare = memoryview(part)[3:5]
        del part
        at.reader.try_receive()
        assert list(bare) == pattern(0)[13:15].tolist(), "a view of a view shows something else"
        del bare, first
        at.reader.try_receive()
        at.publish("goes on")
        while True:
            data = at.receive().data
            if isinstance(data, str):
                break
            require_same(data, pattern(9), "after a view has died")
            del data


def check_a_reader_that_keeps_every_view_is_told(bench: Bench) -> None:
    """Where a writer waits for what this reader keeps, receiving raises ViewAlive and does not wait for ever."""
    with bench.open("kept", capacity=2) as at:
        views = []
        for number in range(2):
            at.publish(pattern(number))
            views.append(at.receive().data)
        blocked = Call(at.publish, "more")
        error = refusal(at.receive, "ViewAlive", channel="kept")
        assert error.context["sequence"] == 0, f"it does not say which message: {error}"
        assert blocked.waits(), "room was found where views are alive"
        for number, view in enumerate(views):
            require_same(view, pattern(number), "a view that was kept")
        del views, view
        assert at.receive().data == "more"
        blocked.result(bench.patience)


def check_views_outlive_their_reader(bench: Bench) -> None:
    """They show what they did when the reader has closed; its writer has that memory back."""
    for to in ("all", "one"):
        with bench.open("outlived", capacity=2, readers=2, to=to) as at:
            at.publish(pattern(0))
            view = at.receive().data
            if to == "all":
                at.receive(1)
            at.reader.close()
            for number in range(1, 6):
                at.publish(pattern(number))
                require_same(at.receive(1).data, pattern(number), f"to {to}, message {number}")
            require_same(view, pattern(0), f"to {to}, a view whose reader has closed")


MESSAGE_CHECKS: list[Check] = [
    check_arrays_come_out_as_they_went_in,
    check_text_bytes_sound_and_pictures,
    check_metadata_goes_with_its_message,
    check_messages_say_where_they_come_from,
    check_shapes_that_change,
    check_loans,
    check_what_is_published_is_the_writers_again,
    check_messages_hold_until_the_next,
    check_views_keep_what_they_show,
    check_a_reader_that_keeps_every_view_is_told,
    check_views_outlive_their_reader,
]
