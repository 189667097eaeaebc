"""`medfl data pull`: images from the hospital's PACS."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from medfl.cli.console import errors, output, print_json
from medfl.cli.options import JsonOption
from medfl.system.text import plural

if TYPE_CHECKING:
    from medfl.data.pacs.pull import PullProgress, PullResult
    from medfl.site import Site


def pull(
    site: Annotated[Path, typer.Argument(help="The site.toml, or the folder it lies in.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only ask the PACS what it has.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Bring the series that site.toml asks for from the PACS into the data folder.

    Run it again after an interruption: whole series are kept. It ends with 1 when a series did not come.
    """
    from medfl.site import read_site

    pulled = _pull(read_site(site), dry_run, silent=as_json)
    if as_json:
        print_json(_as_json(pulled, dry_run))
    else:
        _print_pulled(pulled, dry_run)
    if pulled.problems or pulled.not_started:
        raise typer.Exit(1)


def _pull(site: Site, dry_run: bool, *, silent: bool) -> PullResult:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    from medfl.data.pacs.pull import pull_series as pull_site

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("images,"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, TextColumn("left"), console=errors, disable=silent, transient=True) as bar:
        task = bar.add_task("asking the PACS", total=None)
        return pull_site(
            site, dry_run=dry_run, progress=_progress_callback(lambda text, **of: bar.update(task, description=text, **of))
        )


def _progress_callback(update: Callable[..., None]) -> Callable[[PullProgress], None]:
    def show(progress: PullProgress) -> None:
        text = f"{progress.series_done}/{progress.series} series,"
        update(text, completed=progress.images_done, total=progress.images)

    return show


def _as_json(pulled: PullResult, dry_run: bool) -> dict[str, object]:
    return {
        "dry-run": dry_run,
        "found": {kind: {"series": series, "images": images} for kind, series, images in pulled.found},
        "there": pulled.already_present,
        "series": pulled.series,
        "images": pulled.images,
        "left": pulled.not_started,
        "problems": [{"code": p.code, "series": p.case, "what": p.what, "fix": p.fix} for p in pulled.problems],
    }


def _print_pulled(pulled: PullResult, dry_run: bool) -> None:
    table = Table("in the PACS", "series", "images", box=None, padding=(0, 2))
    for kind, series, images in pulled.found:
        table.add_row(kind, str(series), str(images))
    output.print(table)
    come = "would come" if dry_run else "came"
    verb = "is" if pulled.already_present == 1 else "are"
    output.print(
        f"{pulled.already_present} series {verb} here already; {pulled.series} {come}, {plural(pulled.images, 'image')}."
    )
    for problem in pulled.problems:
        errors.print(str(problem), style="red")
    if pulled.not_started:
        verb = "is" if pulled.not_started == 1 else "are"
        text = f"The allowed hours ended; {pulled.not_started} series {verb} left. Run the same command again."
        errors.print(text, style="yellow")
