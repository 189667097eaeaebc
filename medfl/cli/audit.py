"""Commands `medfl audit`: what came and what left, and whether the logs of it are unchanged."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from medfl.cli.console import errors, output, print_json
from medfl.cli.options import JsonOption
from medfl.system.text import format_bytes, plural

app = typer.Typer(
    help="Show what came and what left, and check that the logs of it are unchanged.",
    no_args_is_help=True,
    suggest_commands=False,
)


@app.command()
def verify(files: Annotated[list[Path], typer.Argument(help="audit.jsonl of a site, of the server, or several.")]) -> None:
    """Check that nobody changed a log; with the files of both sides, also that all that came was sent."""
    from medfl.audit.chain import read_chain
    from medfl.audit.verify import verify_logs

    found = verify_logs(files)
    for broken in (*found.breaks, *found.strays):
        errors.print(str(broken), style="red", soft_wrap=True)
    for note in found.notes:
        output.print(note, style="yellow", soft_wrap=True)
    if found.breaks or found.strays:
        raise typer.Exit(1)
    lines = sum(len(read_chain(path)) for path in files)
    output.print(f"{lines} lines in {plural(len(files), 'file')} are unchanged.")


@app.command()
def show(
    file: Annotated[Path, typer.Argument(help="audit.jsonl of a site or of a run.")],
    run: Annotated[str, typer.Option(help="Only the lines of this run.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Print what came and what left: when, how much, and what was decided."""
    from medfl.audit.chain import read_chain

    lines = [line for line in read_chain(file) if not run or line.get("run") == run]
    if as_json:
        print_json(lines)
        return
    table = Table("time (UTC)", "what", "site", "round", "size", "decision", box=None, padding=(0, 1))
    previous = ""
    for line in lines:
        if (about := str(line.get("run", ""))) and about != previous:
            table.add_row(Text(about, "bold", no_wrap=True))
            previous = about
        table.add_row(*_row(line))
    output.print(table)


def _row(line: dict[str, Any]) -> tuple[str, ...]:
    size = sum(int(record.get("bytes", 0)) for record in line.get("records", []))
    return (
        str(line.get("time", ""))[:19].replace("T", " "),
        f"{line.get('event', '')} {line.get('type', line.get('study', ''))}".strip(),
        str(line.get("site", line.get("owner", ""))),
        str(line.get("round", "")),
        format_bytes(size) if "records" in line else "",
        str(line.get("error", line.get("decision", f"by {line['by']}" if "by" in line else ""))),
    )
