"""The machine, and text for people: files, locks, ports, process pools, parent processes, packages, sizes and durations."""

import sys

if sys.platform == "win32":
    raise ImportError(
        "medfl runs on Linux and macOS. On Windows, install it inside WSL: https://learn.microsoft.com/windows/wsl/install"
    )
