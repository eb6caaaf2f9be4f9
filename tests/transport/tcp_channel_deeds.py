"""What writers and readers of channels do in processes of their own, and how these are stopped in the middle of it."""

from __future__ import annotations

import signal
from pathlib import Path

from cobre.testing.channels_deeds import hold, publish_for_ever, read, write

__all__ = ["CONTINUE", "STOP", "hold", "publish_for_ever", "read", "state_of", "write"]


def state_of(process: int) -> str:
    """As the system shows it: T for one that was stopped."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]


STOP, CONTINUE = signal.SIGSTOP, signal.SIGCONT
