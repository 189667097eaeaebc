"""Tables of the keys of a study on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from medfl.cli.console import output
from medfl.study.key_reference import Key


def print_keys(keys: Sequence[Key]) -> None:
    """Print keys with their meaning, table by table; narrow terminals break lines and cut nothing."""
    for table, members in groupby(keys, lambda key: key.table):
        output.print(f"[{table}]" if table else "[tool.flwr.app.config]", style="bold")
        for key in members:
            only = f"  (only {key.only})" if key.only else ""
            output.print(f"  {key.name}{f' = {key.default}' if key.default else ''}{only}", style="cyan")
            output.print(f"      {key.meaning}")
            example = f"; for example {key.example}" if key.example else ""
            output.print(f"      {key.allowed}{example}{'; must be given' if key.required else ''}.", style="dim")
