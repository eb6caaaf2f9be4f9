"""Collectives and channels between processes: a contract each, and what it runs over (nothing, shared memory, TCP)."""

from cobre.transport.channel import Channel
from cobre.transport.channel_ports import ChannelReader, ChannelStatistics, ChannelWriter, Loan, wait
from cobre.transport.communicator import Communicator, ReduceOp, SharedRegion
from cobre.transport.media import Audio, Video
from cobre.transport.message import Message
from cobre.transport.select import create_communicator

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
