"""Output of commands: results to standard output, problems to standard error."""

from __future__ import annotations

from rich.console import Console

output = Console()
errors = Console(stderr=True)


def print_text(text: str, style: str = "", console: Console = output) -> None:
    """Print a sentence as it is: on a terminal broken between words, else on one line."""
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=not console.is_terminal)
