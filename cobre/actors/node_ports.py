"""The ports of a node inside its process: where its messages come from, and where they go."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, NoReturn

from cobre.actors.node_failures import nearest, pipeline_error, size_of, too_large
from cobre.actors.node_plan import Lost, NodePlan
from cobre.errors import ChannelError
from cobre.supervisor.board import WAITING
from cobre.transport.channel_ports import ChannelReader, ChannelWriter, wait

if TYPE_CHECKING:
    from cobre.supervisor import Board
    from cobre.transport.channel_ports import Loan
    from cobre.transport.message import Message

__all__ = ["Inlets", "LostChannel", "Outlets"]

_LOST = ("PeerDied", "Closed")
_NONE: dict[str, Any] = {}

Hook = Callable[..., object]


class LostChannel(BaseException):
    """A channel of this node is gone, and with it the session: for no code of the node to catch."""

    def __init__(self, told: Lost) -> None:
        super().__init__(told.message)
        self.told = told


class _Ends:
    """What both sides have: the board on which is written that the node waits, and for how long it did."""

    def __init__(self, board: Board, hook: Hook | None) -> None:
        self._hook = hook
        self._words = board.words  # written to directly: between two nodes, every call counts
        self.lost: Lost | None = None

    def _failed(self, error: ChannelError) -> NoReturn:
        if error.kind not in _LOST:
            raise error
        self.lost = Lost(error.kind, error.channel or "", error.message)
        raise LostChannel(self.lost) from None


class _Inlet:
    """One channel that an input reads. mark: the number of the last mark that came. begun: messages before this one are
    the business of the process that had the place before. words: of the board, for a successor."""

    __slots__ = ("begun", "mark", "port", "reader", "words")

    def __init__(self, port: str, reader: ChannelReader, number: int, before: Mapping[str, int]) -> None:
        self.port, self.reader = port, reader
        self.words = f"begun {number}", f"mark {number}"
        self.begun, self.mark = before.get(self.words[0], 0), before.get(self.words[1], 0) - 1


class Inlets(_Ends):
    """All channels that a node reads; they take turns."""

    def __init__(self, plan: NodePlan, places: Iterable[tuple[Any, int]], board: Board, hook: Hook | None) -> None:
        super().__init__(board, hook)
        self._heritable = plan.restarts
        self._all = [
            _Inlet(port, channel.reader(place), number, plan.before or _NONE)
            for number, (port, (channel, place)) in enumerate(zip(plan.inputs, places, strict=True))
        ]
        self._open = list(self._all)
        self._current: _Inlet | None = None
        self._waited, self._waiting = 0, board.place("waiting")
        self._board = board
        if plan.restarts:
            for inlet in self._all:
                board.mark(inlet.words[0], inlet.begun)
                board.mark(inlet.words[1], inlet.mark + 1)

    def reports(self) -> dict[tuple[str, int], Any]:
        """Of the readers that alone know what went through their channels: what they know."""
        readers = [inlet.reader for inlet in self._all]
        return {(each.name, each.place): each.report() for each in readers if hasattr(each, "report")}

    def receive(self) -> Message | None:
        """The next message, or None when all channels have ended. Raises LostChannel, ChannelError ViewAlive."""
        words, hook = self._words, self._hook
        words[self._waiting] = self._waited
        if hook is not None:
            hook("waiting")
        began = perf_counter_ns()
        words[WAITING] = 1
        try:
            while self._open:
                inlet, message = self._next()
                if message is None or (inlet.begun and message.sequence < inlet.begun and message.kind != "mark"):
                    continue
                message.port = inlet.port
                return message
            return None
        finally:
            words[WAITING] = 0
            self._waited += perf_counter_ns() - began
            if hook is not None:
                hook("")

    def _next(self) -> tuple[_Inlet, Message | None]:
        inlets = self._open
        if len(inlets) == 1:
            self._current = inlet = inlets[0]
            try:
                return inlet, inlet.reader.receive()
            except ChannelError as error:
                self._ended(inlet, error)
                return inlet, None
        for inlet in inlets:
            try:
                message = inlet.reader.try_receive()
            except ChannelError as error:
                self._ended(inlet, error)
                return inlet, None
            if message is not None:
                self._current = inlet
                inlets.remove(inlet)
                inlets.append(inlet)  # whoever had its turn stands last
                return inlet, message
        wait([inlet.reader for inlet in inlets])
        return inlets[0], None

    def _ended(self, inlet: _Inlet, error: ChannelError) -> None:
        if error.kind != "EndOfChannel":
            self._failed(error)
        self._open.remove(inlet)
        inlet.mark = 1 << 63

    def begin(self, message: Message) -> None:
        """Work at the message begins: no successor will do it again."""
        inlet = self._current
        assert inlet is not None
        self._board.mark(inlet.words[0], message.sequence + 1)

    def marked(self, message: Message) -> int | None:
        """Notes a mark. Its number when it has now come on all channels."""
        inlet = self._current
        assert inlet is not None
        inlet.mark = number = int(message.data)
        if self._heritable:
            self._board.mark(inlet.words[1], number + 1)
        return number if all(inlet.mark >= number for inlet in self._all) else None

    @property
    def passed(self) -> int | None:
        """The number of the last mark that has come on all channels."""
        number = min((inlet.mark for inlet in self._all), default=-1)
        return None if number < 0 else number

    def close(self) -> None:
        """Closes them."""
        for inlet in self._all:
            inlet.reader.close()

    def abandon(self, reason: str) -> None:
        """Leaves the places to others."""
        for inlet in self._all:
            inlet.reader.abandon(reason)


class Outlets(_Ends):
    """All channels that a node writes. spent: nanoseconds in publishing, waiting for room included."""

    def __init__(self, plan: NodePlan, channels: Mapping[str, Any], board: Board, hook: Hook | None) -> None:
        super().__init__(board, hook)
        self._name = plan.name
        self._most = plan.message_bytes
        self._writers: dict[str, ChannelWriter] = {port: channel.writer(0) for port, channel in channels.items()}
        for writer in self._writers.values():
            if hasattr(writer, "connect"):  # over tcp: all readers listen by now
                writer.connect()
        self._only = next(iter(self._writers.values())) if len(self._writers) == 1 else None
        self.spent = self._sent = 0
        self._blocked, self._at_sent = board.place("blocked"), board.place("sent")

    def emit(self, data: Any, port: str | None = None, metadata: Mapping[str, Any] = _NONE) -> None:
        """Publishes at a port (None: the only one). Raises PipelineError UnknownPort, ChannelError, LostChannel."""
        writer = self._only if port is None else self._writers.get(port)
        if writer is None:
            raise self._unknown(port)
        if self._most is not None and size_of(data) > self._most:
            raise too_large(size_of(data), self._most, str(port or ""), self._name)
        words, hook = self._words, self._hook
        if hook is not None:
            hook("publishing")
        words[WAITING] = 1
        began = perf_counter_ns()
        try:
            writer.publish(data, **metadata)
        except ChannelError as error:
            self._failed(error)
        finally:
            words[WAITING] = 0
            self.spent += perf_counter_ns() - began
            words[self._blocked] = self.spent
            if hook is not None:
                hook("")
        self._count()

    def loan(self, shape: Any, dtype: Any, port: str | None, metadata: Mapping[str, Any]) -> _Lent:
        """Room to be filled in place. Raises as ``emit``."""
        writer = self._only if port is None else self._writers.get(port)
        if writer is None:
            raise self._unknown(port)
        words, hook = self._words, self._hook
        if hook is not None:
            hook("publishing")
        words[WAITING] = 1
        began = perf_counter_ns()
        try:
            loan = writer.loan(shape, dtype)
        except ChannelError as error:
            self._failed(error)
        finally:
            words[WAITING] = 0
            self.spent += perf_counter_ns() - began
            words[self._blocked] = self.spent
            if hook is not None:
                hook("")
        if self._most is not None and loan.array.nbytes > self._most:
            loan.drop()
            raise too_large(loan.array.nbytes, self._most, str(port or ""), self._name)
        if metadata:
            loan.metadata.update(metadata)
        return _Lent(loan, self)

    def mark(self, number: int) -> None:
        """Hands a mark on to all outputs."""
        for writer in self._writers.values():
            self._words[WAITING] = 1
            try:
                writer.mark(number)
            except ChannelError as error:
                self._failed(error)
            finally:
                self._words[WAITING] = 0

    def close(self) -> None:
        """Closes them: nothing more will come."""
        for writer in self._writers.values():
            writer.close()

    def abandon(self, reason: str) -> None:
        """Leaves the places to others."""
        for writer in self._writers.values():
            writer.abandon(reason)

    def published(self, loan: Loan) -> None:
        """Publishes what was lent."""
        try:
            loan.publish()
        except ChannelError as error:
            self._failed(error)
        self._count()

    def _count(self) -> None:
        self._sent += 1
        self._words[self._at_sent] = self._sent

    def _unknown(self, port: str | None) -> Exception:
        known = [*self._writers]
        told = f"{self._name} has no output {port!r}" if port is not None else f"{self._name} has {len(known)} outputs"
        advice = (
            nearest(port or "", known, 'name the port, as in {"port": data}; there are') if known else "send nothing"
        )
        return pipeline_error("UnknownPort", told, advice, node=self._name)


class _Lent:
    """A loan that the node's counters know of. array, metadata: to be filled."""

    __slots__ = ("_loan", "_outlets", "array")

    def __init__(self, loan: Loan, outlets: Outlets) -> None:
        self._loan, self._outlets = loan, outlets
        self.array = loan.array

    @property
    def metadata(self) -> dict[str, Any]:
        return self._loan.metadata

    def __enter__(self) -> _Lent:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: object) -> None:
        del self.array
        if error is None:
            self._outlets.published(self._loan)
        else:
            self._loan.drop()
