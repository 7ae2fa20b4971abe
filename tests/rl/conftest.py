"""The odd environments can be named as `odd_environments:Name-v0`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
