"""Command `medfl predict`: a trained model on images, with masks, tables and scores."""

from __future__ import annotations

import math
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from medfl.cli.console import errors, output, print_json
from medfl.cli.options import JsonOption
from medfl.cli.progress import show_progress
from medfl.cli.send_predictions import read_pacs_site, send_predictions, sent_as_json
from medfl.system.text import plural

if TYPE_CHECKING:
    from medfl.data.findings import Finding
    from medfl.models.folder_prediction import FolderPrediction
    from medfl.models.predicted_folder import PredictedFolder

EXIT_FAILED, EXIT_STOPPED = 1, 130
_MAX_NAMED = 20  # cases that are named on the screen
_COUNTS, _DISTANCE = ("missed", "false-positive"), "hd95"  # beginnings of names of scores that are no shares


class MaskName(StrEnum):
    """Formats of masks that can be named on the command line."""

    AUTO = "auto"
    NIFTI = "nifti"
    SEG = "seg"
    LABELMAP = "labelmap"
    PNG = "png"


class NameKind(StrEnum):
    """What files and tables call the cases."""

    PSEUDONYMS = "pseudonyms"
    ORIGINAL = "original"


class DeviceName(StrEnum):
    """Devices that can be named on the command line."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    MPS = "mps"


class WhichName(StrEnum):
    """Models of a run that can be named on the command line."""

    BEST = "best"
    FINAL = "final"


def predict(
    model: Annotated[
        Path, typer.Argument(help="Folder or name of a run, folder of an export, or a .safetensors file that medfl wrote.")
    ],
    data: Annotated[
        Path, typer.Argument(help="Folder of DICOM, NIfTI or pictures, a table of images, one image, or a site.toml.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for the predictions; a second call goes on with what is in it.")],
    models: Annotated[
        list[Path] | None,
        typer.Option("--models", help="A further model of the same task, whose probabilities are averaged; may be repeated."),
    ] = None,
    flips: Annotated[bool, typer.Option("--flips", help="Average over mirrored images as well.")] = False,
    masks: Annotated[
        MaskName,
        typer.Option("--masks", help="Format of masks; auto: DICOM-SEG for a series, NIfTI for NIfTI, PNG for pictures."),
    ] = MaskName.AUTO,
    names: Annotated[
        NameKind,
        typer.Option(
            "--names", help="original: files and records bear names and patient ids of the data. They identify patients."
        ),
    ] = NameKind.PSEUDONYMS,
    again: Annotated[bool, typer.Option("--again", help="Predict anew what is there already.")] = False,
    device: Annotated[
        DeviceName | None, typer.Option("--device", help="By default as the site.toml says, or the fastest one.")
    ] = None,
    arm: Annotated[str, typer.Option(help="Of a run: federated, or local with the model of --site.")] = "federated",
    site: Annotated[str | None, typer.Option(help="Of a run: the site whose own model is meant.")] = None,
    which: Annotated[WhichName, typer.Option(help="Of a run: its best model, or that of its last round.")] = WhichName.BEST,
    send: Annotated[
        Path | None,
        typer.Option("--send", metavar="SITE.toml", help="Send the DICOM files to the PACS of a site.toml (its table pacs)."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="With --send: predict, and only say what would be sent.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Predict images with a trained model: masks on the grid of each image, or classes. Nothing is sent but by --send.

    Images with a label are scored as in the test of a run. What is written is whole: after Ctrl-C, give the same command again.
    """
    pacs_site = read_pacs_site(send) if send else None  # before the work, which may be long
    if dry_run and not send:
        raise typer.BadParameter("there is nothing to try without --send.", param_hint="--dry-run")
    with show_progress("Opening the model", quiet=as_json) as advance:
        from medfl.api.predictions import PredictionOptions, plan_prediction

        options = PredictionOptions(
            flips=flips,
            mask_format=masks.value,
            original_names=names is NameKind.ORIGINAL,
            again=again,
            device=device.value if device else "",
            arm=arm,
            site=site,
            which=which.value,
        )
        prediction = plan_prediction([model, *(models or ())], data, out, options)
        try:
            found = prediction.run(
                indexing=partial(advance, what="Reading headers"), progress=partial(advance, what="Predicting")
            )
        except KeyboardInterrupt:
            found = None
        except Exception:
            _print_rest(prediction)
            raise
    if found is None:
        errors.print("Stopped.", style="yellow")
        _print_rest(prediction)
        raise typer.Exit(EXIT_STOPPED)
    if names is NameKind.ORIGINAL:
        errors.print(
            "The files bear names of the data: they identify patients. Keep them on this machine.", style="bold yellow"
        )
    if not as_json:
        _print_found(found)
    stored = send_predictions(found, pacs_site, dry_run=dry_run, quiet=as_json) if pacs_site else ()
    if as_json:
        print_json(_as_json(found) | ({"sent": sent_as_json(stored)} if pacs_site else {}))
    if (found.left_out and not found.done) or any(each.problem for each in stored):
        raise typer.Exit(EXIT_FAILED)


def _print_rest(prediction: FolderPrediction) -> None:
    """Print what was not done, if it is known already."""
    found = prediction.found
    if not found.cases:
        return
    rest = found.remaining
    errors.print(f"{len(found.done)} of {len(found.cases)} are done, and whole. The same command goes on with the rest.")
    more = f" and {len(rest) - _MAX_NAMED} more" if len(rest) > _MAX_NAMED else ""
    if rest:
        errors.print(f"Left: {', '.join(rest[:_MAX_NAMED])}{more}")


def _as_json(found: PredictedFolder) -> dict[str, object]:
    from dataclasses import asdict

    patients, scores = found.scores()
    return {
        "out": str(found.out),
        "done": len(found.done),
        "predicted-now": found.fresh,
        "removed": list(found.removed),
        "files": found.files.to_json() if found.files else None,
        "findings": [asdict(one) for one in found.findings],
        "cases": [asdict(found.done[case]) for case in found.cases if case in found.done],
        "scored-patients": patients,
        "scores": scores,
    }


def _print_found(found: PredictedFolder) -> None:
    _print_findings(found)
    patients, scores = found.scores()
    if patients:
        _print_scores(found, patients, scores)
    before = len(found.done) - found.fresh
    kept = f" ({before} of them before)" if before else ""
    output.print(f"Predicted {plural(len(found.done), 'image')}{kept}; {len(found.left_out)} left out.", style="bold")
    if found.removed:
        output.print(
            f"Removed {plural(len(found.removed), 'earlier prediction')}, of images that are not in the data any more or are "
            "left out now."
        )
    _print_unused(found)
    if not found.done:
        output.print(f"Nothing was written but the account of it, in {found.out}.", soft_wrap=True)
        return
    masks = "a mask for each image, " if found.study.task.kind == "segmentation" else ""
    output.print(f"In {found.out}: {masks}cases.csv, summary.json, and a JSON file for each image in cases/.", soft_wrap=True)
    output.print("'medfl data whois case-... DATA' names the files behind a pseudonym, on this machine only.", style="dim")


def _print_unused(found: PredictedFolder) -> None:
    """Print how many files of the data folder are neither images nor labels of this prediction, by what they are."""
    rows = [f"{count} {words}" for words, count, is_used in found.files.rows() if not is_used] if found.files else []
    if rows:
        output.print(f"Not used of the data folder: {'; '.join(rows)}.", soft_wrap=True)


def _print_findings(found: PredictedFolder) -> None:
    from medfl.errors import explain_code

    rows: dict[tuple[str, str], list[str]] = {}
    first: dict[tuple[str, str], Finding] = {}
    for one in found.findings:
        rows.setdefault((one.level, one.code), []).append(one.case)
        first.setdefault((one.level, one.code), one)
    if not rows:
        return
    table = Table("code", "images", "", "what", "what to do", box=None, padding=(0, 2, 0, 0), header_style="dim")
    for (level, code), cases in sorted(rows.items()):
        one = first[level, code]
        what = one.what if len(cases) == 1 else explain_code(code)
        outcome = "left out" if level == "error" else "predicted" if any(cases) else ""
        style = "red" if level == "error" else "yellow"
        table.add_row(Text(code, style=style), str(len(cases)), outcome, Text(what), Text(one.fix))
    output.print(table)


def _print_scores(found: PredictedFolder, patients: int, scores: dict[str, float]) -> None:
    from medfl.report.formatting import format_error, length_unit

    people = "patient" if found.patient_ids else "image"
    bounds = found.score_errors()
    output.print(f"Scores of {plural(patients, people)} with a label:")
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for name, value in scores.items():
        if not math.isnan(value):
            if name.startswith(_COUNTS):
                text = f"{value:.0f}"
            elif name.startswith(_DISTANCE):
                text = f"{value:.1f} {length_unit(found.study)}"
            else:
                text = f"{value:.3f} {format_error(bounds.get(name, 0.0))}"
            table.add_row(name, text)
    output.print(table)
    if any(map(format_error, bounds.values())):
        output.print("±: an AUROC is counted in bins, as in the test of a run.", style="dim")
    output.print("If the model was trained on some of these patients, their scores are too good.", style="yellow")
