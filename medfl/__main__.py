"""The command `medfl`, as `python -m medfl`."""

from medfl.cli import main

main()
