"""What the readers of a tcp channel report of its traffic, put together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cobre.transport.channel_ports import ChannelStatistics
from cobre.transport.tcp_channel_settings import Settings

__all__ = ["Report", "statistics_of"]

Report = dict[str, Any]
"""Of a reader: whether it has ``closed``, why the channel has ``ended`` or None, and the ``lanes`` of its writers."""


def statistics_of(settings: Settings, reports: Mapping[int, Report], ended: bool) -> ChannelStatistics:
    """reports: by reader, of those that have been there. ended: whether the channel is known to have ended."""
    lanes: dict[int, list[Mapping[str, Any]]] = {}
    for report in reports.values():
        for lane in report["lanes"]:
            lanes.setdefault(lane["writer"], []).append(lane)

    def total(what: str) -> int:
        # each message to one reader: all readers' together; to all: what the one that is furthest says
        add = sum if settings.to == "one" else max
        return sum(add(lane[what] for lane in found) for found in lanes.values())

    closed = [report for report in reports.values() if report["closed"]]
    writers = sum(any(lane["state"] == "open" for lane in found) for found in lanes.values())
    if ended or any(report["ended"] is not None for report in reports.values()) or len(closed) == settings.readers:
        state = "destroyed"
    elif len(lanes) == settings.writers and not writers:
        state = "draining"
    else:
        state = "active" if reports else "created"
    return ChannelStatistics(
        name=settings.name,
        state=state,
        messages=total("messages"),
        bytes=total("bytes"),
        occupancy=total("occupancy"),
        occupancy_bytes=total("occupancy_bytes"),
        capacity=settings.capacity,
        capacity_bytes=settings.limit,
        high_water=max((lane["high_water"] for found in lanes.values() for lane in found), default=0),
        blocked_seconds=sum(max(lane["blocked"] for lane in found) for found in lanes.values()) / 1e9,
        writers=writers,
        readers=len(reports) - len(closed),
    )
