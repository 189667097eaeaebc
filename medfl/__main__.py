"""`python -m medfl` is the command `medfl`."""

from medfl.cli import main

main()
