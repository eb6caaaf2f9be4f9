"""What the ranks of the tests do: functions that run in the ranks' own processes."""

from __future__ import annotations
