"""Sending of what `medfl predict` wrote to a PACS, for its option ``--send``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from medfl.cli.console import errors, output
from medfl.cli.progress import show_progress
from medfl.errors import ConfigError, Problem
from medfl.system.text import plural

if TYPE_CHECKING:
    from medfl.data.pacs.outgoing import Stored
    from medfl.models.predicted_folder import PredictedFolder
    from medfl.site import Site


def read_pacs_site(file: Path) -> Site:
    """Return a site whose table ``pacs`` says where predictions go.

    Raises
    ------
    ConfigError
        When its site.toml is wrong, or has no such table.
    """
    from medfl.site import read_site

    site = read_site(file)
    if site.pacs is None:
        problem = Problem("site.toml", "pacs", "this table is required and is missing.", "See docs/pacs.md.")
        raise ConfigError([problem])
    return site


def send_predictions(found: PredictedFolder, site: Site, *, dry_run: bool, quiet: bool) -> tuple[Stored, ...]:
    """Send the DICOM files of a finished prediction to the PACS of a site, and say what became of them.

    Parameters
    ----------
    found : PredictedFolder
        The prediction.
    site : Site
        Site with a table ``pacs``.
    dry_run : bool
        Only say what would be sent.
    quiet : bool
        Print problems alone.

    Returns
    -------
    tuple of Stored
        What became of each file; empty after a dry run.

    Raises
    ------
    DataError
        As `medfl.models.sending.send_prediction`.
    """
    from medfl.data.pacs.outgoing import read_outgoing
    from medfl.models.sending import find_files_to_send, send_prediction

    assert site.pacs is not None
    if dry_run:
        files = plural(len(read_outgoing(find_files_to_send(found))), "DICOM file")
        errors.print(f"This was a dry run: {files} would be sent to the PACS ({site.pacs.kind}), and none was.")
        return ()
    with show_progress("Sending to the PACS", quiet=quiet) as advance:
        stored = send_prediction(found, site.pacs, site.folder, advance)
    _print_stored(stored, quiet=quiet)
    return stored


def sent_as_json(stored: tuple[Stored, ...]) -> list[dict[str, object]]:
    """Return for machines what became of each file that was sent."""
    return [
        {
            "file": each.path.name,
            "stored": each.problem is None,
            "changed": each.is_changed,
            "code": each.problem.code if each.problem else "",
            "what": each.problem.what if each.problem else "",
        }
        for each in stored
    ]


def _print_stored(stored: tuple[Stored, ...], *, quiet: bool) -> None:
    failed = [each for each in stored if each.problem is not None]
    changed = sum(each.is_changed for each in stored)
    if not quiet:
        output.print(f"The PACS stored {len(stored) - len(failed)} of {plural(len(stored), 'DICOM file')}.")
    if changed:
        errors.print(f"It says of {changed} of them that it stored other values than it got.", style="yellow")
    for each in failed:
        errors.print(Text(f"{each.path.name}: {each.problem}", "red"), soft_wrap=True)
    if failed:
        errors.print("The same command sends all again; what is stored stays one object.")
