"""Flower's SuperLink as a process whose requests wait long enough for one another."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    from medfl.flower.tasks import run_superlink

    sys.argv = sys.argv[1:]
    run_superlink()
