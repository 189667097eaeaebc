"""Where commands write: results to standard output, what went wrong to standard error."""

from __future__ import annotations

from rich.console import Console

output = Console()
errors = Console(stderr=True)
