"""The operating system: files, locks, ports, process pools, parent processes. Nothing here knows of medicine."""

import sys

if sys.platform == "win32":
    raise ImportError(
        "medfl runs on Linux and macOS. On Windows, install it inside WSL: https://learn.microsoft.com/windows/wsl/install"
    )
