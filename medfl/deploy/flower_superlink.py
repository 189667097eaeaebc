"""Flower's SuperLink as a process in which one request waits long enough for another to finish."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    from medfl.flower.tasks import run_superlink

    sys.argv = sys.argv[1:]
    run_superlink()
