"""`medfl data prepare`: everything that can be done with a hospital's images before training, done once."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from medfl.cli.console import errors, output, print_json
from medfl.cli.options import JsonOption
from medfl.cli.progress import show_progress
from medfl.system.text import plural

if TYPE_CHECKING:
    from medfl.data.store.forecast import Forecast
    from medfl.data.store.prepared_data import PreparedData


def prepare(
    site_file: Annotated[Path, typer.Argument(metavar="SITE.toml", help="The hospital's site.toml, or its folder.")],
    study_folder: Annotated[Path, typer.Argument(metavar="STUDY", help="Folder of the study, or its pyproject.toml.")],
    workers: Annotated[int, typer.Option(min=1, help="Cases that are made at a time, as far as the memory allows.")] = 1,
    check: Annotated[bool, typer.Option("--check", help="Only report whether the prepared data is current.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Prepare a hospital's images for a study. It can be stopped at any time, and goes on where it was.

    Ends with 1 when too much had to be left out for the site's own policy, or, with --check, when it must be run again.
    """
    from medfl.data.store.prepare import check_policy, prepare_cases
    from medfl.site import read_site
    from medfl.study import read_study

    site, study = read_site(site_file), read_study(study_folder)
    if check:
        from medfl.data.store.cache_status import get_cache_status

        found = get_cache_status(site, study)
        if as_json:
            print_json(asdict(found))
        found.require_current()
        if not as_json:
            output.print(f"The prepared data is current: {plural(found.current, 'case')}.")
        return
    try:
        with show_progress("Preparing the images", quiet=as_json) as advance:
            prepared = prepare_cases(
                site,
                study,
                advance,
                workers=workers,
                announce=lambda forecast: _print_forecast(forecast, quiet=as_json),
            )
    except KeyboardInterrupt:
        errors.print("What is prepared stays. Give the same command again to go on.", style="yellow")
        raise
    _print_summary(prepared, as_json=as_json)
    check_policy(site, prepared, study)


def _print_forecast(forecast: Forecast, *, quiet: bool) -> None:
    from medfl.system.text import format_bytes

    forecast.require_space()
    if quiet:
        return
    made = forecast.cases - forecast.stored
    need = f"{'about' if forecast.exact else 'at most'} {format_bytes(forecast.size)}"
    unknown = f", and {forecast.unknown} of unknown size" if forecast.unknown else ""
    rest = f" The other {made} need {need}{unknown}; {format_bytes(forecast.free)} are free." if made else ""
    output.print(f"{plural(forecast.cases, 'case')}, {forecast.stored} of them in the store.{rest}")


def _print_summary(prepared: PreparedData, *, as_json: bool) -> None:
    summary = _summarize(prepared)
    if as_json:
        print_json(summary)
        return
    from medfl.errors import explain_code

    table = Table("", "cases", "code", "", box=None, padding=(0, 2))
    for title, key in (("left out", "left_out_by_code"), ("warning", "warnings_by_code")):
        for code, count in summary[key].items():
            table.add_row(title, str(count), code, explain_code(code))
    if table.row_count:
        output.print(table)
    output.print(f"{plural(summary['usable'], 'case')} usable, {summary['left_out']} left out.")
    if summary["left_out"]:
        output.print("'medfl data check' says why, case by case.")


def _summarize(prepared: PreparedData) -> dict[str, Any]:
    from medfl.data.store.prepare import count_exclusions

    left_out = count_exclusions(prepared)
    warned = [finding for finding in prepared.findings if finding.level == "warning"]
    return {
        "site": prepared.site,
        "usable": len(prepared.cases),
        "left_out": sum(left_out.values()),
        "left_out_by_code": left_out,
        "warnings_by_code": dict(sorted(Counter(finding.code for finding in warned).items())),
    }
