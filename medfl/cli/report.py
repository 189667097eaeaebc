"""Command `medfl report`: the report of a run, its numbers for machines, and the list of its cases."""

from __future__ import annotations

import math
import shlex
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from medfl.cli.console import errors, output, print_json
from medfl.cli.options import JsonOption
from medfl.cli.progress import show_progress
from medfl.system.text import plural

if TYPE_CHECKING:
    from medfl.report.case_sources import CaseCollection, CaseSource
    from medfl.runs.case_table import CaseResult

_SHOWN_CASES = 12  # in the terminal; the page has more, and the tables all


def report(
    run: Annotated[
        Path,
        typer.Argument(
            help="Folder of a run or of a comparison, or the beginning of a run's name. "
            "With --cases also a site.toml, or a folder of predictions."
        ),
    ],
    cases: Annotated[
        bool, typer.Option("--cases", help="List the test cases by pseudonym, worst first, with pictures. They stay here.")
    ] = False,
    of_run: Annotated[
        str,
        typer.Option("--run", metavar="NAME", help="With --cases at a hospital: the run; the newest test unless given."),
    ] = "",
    masks: Annotated[
        bool,
        typer.Option(
            "--masks", help="With --cases: whole masks as well, of a simulated run predicted again, and where they are."
        ),
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="With --cases: write the page there; beside the tables else.")
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print every number of the report as CSV, and write nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write the HTML report of a run or of a comparison again, print its numbers, or list its cases."""
    from medfl.api import open_run
    from medfl.runs.finding import find_named_run

    if (run / "comparison.json").is_file():
        _write_comparison(run, for_runs=cases or as_csv or as_json)
        return
    if as_csv and (as_json or cases):
        other = "take either --json or --csv" if as_json else "tables of cases are CSV files already; the page names them"
        raise typer.BadParameter(other, param_hint="--csv")
    for option, value in (("--run", of_run), ("--masks", masks), ("--out", out)):
        if value and not cases:
            raise typer.BadParameter("is for --cases", param_hint=option)
    run = find_named_run(run)
    if cases:
        _show_cases(run, of_run, masks=masks, out=out, as_json=as_json)
    elif as_json or as_csv:
        _print_numbers(run, as_csv=as_csv)
    else:
        output.print(f"Report: {open_run(run).write_report()}", soft_wrap=True)


def _write_comparison(folder: Path, *, for_runs: bool) -> None:
    from medfl.report.comparison_page import write_comparison_page

    if for_runs:
        what = "a comparison has its numbers in comparison.json and patients.csv; --cases, --csv and --json are for its runs"
        raise typer.BadParameter(what, param_hint="RUN")
    output.print(f"Page: {write_comparison_page(folder)}", soft_wrap=True)


def _print_numbers(run: Path, *, as_csv: bool) -> None:
    from medfl.report.render import report_content
    from medfl.report.report_data import read_report_data
    from medfl.report.report_numbers import report_as_csv, report_as_json

    data = read_report_data(run)
    if as_csv:
        typer.echo(report_as_csv(report_content(data)), nl=False)
    else:
        print_json(report_as_json(data))


def _show_cases(run: Path, of_run: str, *, masks: bool, out: Path | None, as_json: bool) -> None:
    from medfl.report.case_page import write_case_page
    from medfl.report.case_sources import open_cases

    collection = open_cases(run, of_run)
    folders = _write_masks(run, collection, quiet=as_json) if masks else []
    if as_json:
        print_json([_case_as_json(source, result) for source, result in _all_ranked(collection)])
        return
    page = write_case_page(collection, out)
    errors.print("These are single patients. Do not copy what follows out of this machine.", style="bold yellow")
    output.print(_make_table(collection))
    for source in collection.sources:
        output.print(f"Table: {source.file}", soft_wrap=True)
    output.print(f"Page: {page}", soft_wrap=True)
    for folder in folders:
        output.print(f"Masks: {folder}", soft_wrap=True)
    if whois := next((source.whois for source in collection.sources if source.whois), ""):
        output.print(f"Who is it: medfl data whois CASE {shlex.quote(whois)}", soft_wrap=True)


def _write_masks(run: Path, collection: CaseCollection, *, quiet: bool) -> list[Path]:
    with show_progress("Opening the model", quiet=quiet) as advance:
        from medfl.api.case_masks import write_case_masks

        return write_case_masks(run, collection, partial(advance, what="Predicting masks"))


def _all_ranked(collection: CaseCollection) -> list[tuple[CaseSource, CaseResult]]:
    return collection.worst_first() + collection.worst_first(personal=True)


def _make_table(collection: CaseCollection) -> Table:
    ranked = collection.worst_first()
    title = f"The worst {_SHOWN_CASES} of {plural(len(ranked), 'case')}" if len(ranked) > _SHOWN_CASES else None
    table = Table("case", "hospital", "score", "what went wrong", title=title)
    for source, result in ranked[:_SHOWN_CASES]:
        score = "–" if math.isnan(result.score) else f"{result.score:.3f}"
        table.add_row(Text(result.case), Text(source.site), score, Text("; ".join(result.flags)))
    return table


def _case_as_json(source: CaseSource, result: CaseResult) -> dict[str, Any]:
    model = "personal" if source.personal else "shared"
    about = {"site": source.site, "model": model, **asdict(result), "score": result.score, "flags": list(result.flags)}
    mask = source.mask_of(result)
    return about | {"unit": source.table.unit, "mask": str(mask) if mask else ""}
