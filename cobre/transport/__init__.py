"""Collectives and channels between processes: a contract each, and what it runs over (nothing, shared memory, TCP)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cobre.transport.communicator import Communicator, ReduceOp, SharedRegion
from cobre.transport.select import create_communicator

if TYPE_CHECKING:
    from cobre.transport.channel import Channel
    from cobre.transport.channel_ports import ChannelReader, ChannelStatistics, ChannelWriter, Loan, wait
    from cobre.transport.media import Audio, Video
    from cobre.transport.message import Message

__all__ = [
    "Audio",
    "Channel",
    "ChannelReader",
    "ChannelStatistics",
    "ChannelWriter",
    "Communicator",
    "Loan",
    "Message",
    "ReduceOp",
    "SharedRegion",
    "Video",
    "create_communicator",
    "wait",
]

# imported when they are asked for: the workers of a run start without channels
_LATER = {
    "Audio": "media", "Channel": "channel", "ChannelReader": "channel_ports", "ChannelStatistics": "channel_ports",
    "ChannelWriter": "channel_ports", "Loan": "channel_ports", "Message": "message", "Video": "media",
    "wait": "channel_ports",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
