"""Flower's SuperNode as a process that shows the site's certificate, and ends with the process that started it."""

from __future__ import annotations

import sys
from pathlib import Path

from medfl.system.parent_watch import die_with_parent

if __name__ == "__main__":
    die_with_parent()
    from medfl.flower.supernode import run_supernode

    _, certificate, key, sign, megabytes, *flags = sys.argv
    sys.argv = ["flower-supernode", *flags]
    run_supernode(Path(certificate) if certificate else None, Path(key) if key else None, Path(sign), int(megabytes))
