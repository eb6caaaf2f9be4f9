"""``python -m cobre``: the command line."""

from __future__ import annotations

import sys

from cobre.cli import main

sys.exit(main())
