"""The command line: each command is a thin call of one library function, imported only when it runs."""

import sys


def main() -> None:
    """Run the command line, on a system that medfl supports."""
    try:
        import medfl.system  # noqa: F401
    except ImportError as error:
        sys.exit(str(error))
    from medfl.cli.app import main as run

    run()


__all__ = ["main"]
