"""The command line: each command is a thin call of one library function, imported only when it runs."""

from medfl.cli.app import main

__all__ = ["main"]
