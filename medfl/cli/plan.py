"""Command `medfl study plan`: voxel size, patch, network and normalisation, derived from the hospitals' images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from medfl.cli.console import errors, output, print_json
from medfl.cli.options import DataOption, JsonOption, SetOption, parse_overrides
from medfl.cli.progress import show_progress
from medfl.errors import ConfigError, Problem
from medfl.study.study_file import STUDY_FILE, Scalar
from medfl.system.text import plural

if TYPE_CHECKING:
    from medfl.planning.apply_plan import StudyEdit
    from medfl.planning.fingerprint import Fingerprint
    from medfl.planning.plan import Plan
    from medfl.study import Study
    from medfl.study.study_file import StudyFile

_COLOURS = {"+": "green", "-": "red", "@": "dim"}


def plan(
    folder: Annotated[Path, typer.Argument(metavar="STUDY", help="Folder of the study, or its pyproject.toml.")],
    data: DataOption = None,
    fingerprint: Annotated[
        list[Path] | None,
        typer.Option(help="Fingerprint that 'medfl data fingerprint' wrote at a hospital; may be given several times."),
    ] = None,
    gpu_gb: Annotated[float, typer.Option(help="Memory of the smallest GPU that takes part, GB.")] = 8.0,
    out: Annotated[Path | None, typer.Option(help="Write the planned study here and leave the study as it is.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, and write nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    change: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Plan a segmentation study by nnU-Net's rules from the hospitals' images, and write the plan into it.

    Give either the folders of simulated hospitals, which are asked as real ones are, or the fingerprints of real ones.
    """
    from medfl.planning.apply_plan import apply_plan
    from medfl.planning.plan import check_plannable, make_plan
    from medfl.study import read_study, read_study_file
    from medfl.system.files import translate_disk_errors, write_file

    if bool(data) == bool(fingerprint):
        raise ConfigError([Problem("command line", "--data, --fingerprint", "give one of the two, and not both.")])
    overrides = parse_overrides(change)
    study_file = read_study_file(folder)
    study = read_study(study_file, overrides)
    check_plannable(study)
    merged = (
        _merge_fingerprint_files(fingerprint, study)
        if fingerprint
        else _collect_fingerprints(study_file, data or [], overrides, quiet=as_json)
    )
    planned = make_plan(merged, study, gpu_gb)
    edit = apply_plan(study_file, planned)
    if as_json:
        print_json({"plan": asdict(planned), "changes": edit.changes})
    else:
        _print_plan(planned, edit)
    if not edit.changes and out is None:
        errors.print("The study already is as planned.")
    elif not dry_run and (yes or out is not None or typer.confirm(f"Write this into {STUDY_FILE}?", err=True)):
        path = out or study_file.folder / STUDY_FILE
        with translate_disk_errors(f"the planned study in {path}", "give the same command again"):
            write_file(path, edit.after.encode())


def _merge_fingerprint_files(files: list[Path], study: Study) -> Fingerprint:
    from medfl.planning.fingerprint import Scope, check_scope, merge
    from medfl.planning.fingerprint_serialization import from_json

    texts: dict[str, str] = {}
    for file in files:
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            raise ConfigError([Problem(file.name, "(whole file)", "this file cannot be read.")]) from None
        if text in texts:  # two hospitals never give the same, and one that is counted twice would weigh double
            what = f"this is the same fingerprint as {texts[text]}."
            raise ConfigError([Problem(file.name, "(whole file)", what, "Name each hospital's file once.")])
        texts[text] = file.name
    merged = merge(map(from_json, texts))
    check_scope(merged, Scope.from_study(study))
    return merged


def _collect_fingerprints(
    study_file: StudyFile, data: list[Path], overrides: Mapping[str, Scalar], *, quiet: bool
) -> Fingerprint:
    from medfl.messages.counts import format_count
    from medfl.simulation.simulated_fingerprints import collect_simulated_fingerprints
    from medfl.simulation.simulated_run import plan_simulation
    from medfl.simulation.worker_pool import warm_up

    warm_up()
    simulation = plan_simulation(study_file, data, Path("runs"), overrides)
    with show_progress(f"Asking {plural(len(simulation.sites), 'site')}", quiet=quiet) as advance:
        collected = collect_simulated_fingerprints(simulation, advance)
    if quiet:
        return collected.merge()
    table = Table("site", "cases", "left out", box=None, padding=(0, 2))
    for site, fingerprint in collected.fingerprints.items():
        left_out = ", ".join(f"{format_count(count)} {code}" for code, count in collected.excluded[site].items())
        table.add_row(site, str(fingerprint.cases), left_out)
    for node, reason in collected.refused.items():
        table.add_row(node, "none", reason)
    output.print(table)
    return collected.merge()


def _print_plan(planned: Plan, edit: StudyEdit) -> None:
    shape = " x ".join(map(str, planned.shape))
    spacing = f" at {' x '.join(f'{step:g}' for step in planned.spacing)} mm" if planned.spacing else ""
    output.print(
        f"{plural(planned.cases, 'case')}; the median size along each axis is {shape} voxels{spacing}.",
        soft_wrap=True,
    )
    for line in edit.diff():
        output.print(line, style=_COLOURS.get(line[:1], ""), soft_wrap=True)
