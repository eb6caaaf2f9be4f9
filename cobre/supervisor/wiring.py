"""What passes over the control connection between a supervisor and a process: frames of a length, a kind and bytes.

Nothing is imported here that a process would not have loaded anyway: its first milliseconds count.
"""

from __future__ import annotations

import struct

__all__ = ["ASK", "MESSAGE", "READY", "Frames", "frame"]

ASK, MESSAGE, READY = b"A", b"M", b"R"
_LENGTH = struct.Struct("<I")


def frame(kind: bytes, payload: bytes = b"") -> bytes:
    """One frame; ``kind`` is one byte. Raises struct.error for 4 GiB or more."""
    return _LENGTH.pack(len(payload) + 1) + kind + payload


class Frames:
    """Puts together what arrived in pieces."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> list[tuple[bytes, bytes]]:
        """The frames that are whole now, each its kind and its payload."""
        self._held += data
        whole = []
        while len(self._held) >= _LENGTH.size:
            end = _LENGTH.size + _LENGTH.unpack_from(self._held)[0]
            if len(self._held) < end:
                break
            body = bytes(self._held[_LENGTH.size : end])
            whole.append((body[:1], body[1:]))
            del self._held[:end]
        return whole
