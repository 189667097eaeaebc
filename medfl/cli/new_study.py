"""Command `medfl study new`: a commented study from a look at the data, or after a sample study."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import click
import typer

from medfl.cli.console import errors, output, print_json
from medfl.cli.data.check import ModalityName, print_check
from medfl.cli.options import DataOption, JsonOption
from medfl.cli.progress import show_progress
from medfl.errors import ConfigError, Problem

if TYPE_CHECKING:
    from medfl.api.data_look import DataLook
    from medfl.api.new_study import StudyDraft
    from medfl.api.study_questions import Ask, Question

_COMMAND = "medfl study new"


class TaskName(StrEnum):
    """Kinds of tasks."""

    segmentation = "segmentation"
    classification = "classification"


def new(
    folder: Annotated[Path, typer.Argument(help="Folder to make for the study.")],
    data: DataOption = None,
    task: Annotated[TaskName | None, typer.Option(help="Kind of the task; by default what the labels are.")] = None,
    sample: Annotated[str, typer.Option("--from", help="Sample study whose choices are taken, such as hippocampus.")] = "",
    name: Annotated[str, typer.Option(help="Name of the study; by default that of the folder.")] = "",
    label: Annotated[str, typer.Option(help="Column of the index with masks or classes, or a pattern.")] = "",
    modality: Annotated[ModalityName | None, typer.Option(help="Modality, where the files do not tell it.")] = None,
    hospitals: Annotated[
        str, typer.Option(help="Column of the index that names the hospitals, a number of random parts, or 'one'.")
    ] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing: what the data does not say is assumed.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the study, and write nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a study for data: look at it, choose what suits it, and write a commented file that can be simulated at once.

    On a terminal it asks for what the data does not say. No folder of the data becomes part of the study.
    """
    from medfl.api.data_look import look_at_data
    from medfl.api.new_study import draft_study, require_new
    from medfl.api.studies import to_paths
    from medfl.api.study_questions import Wishes
    from medfl.simulation.worker_pool import has_cuda

    ask = None if yes or as_json or not _is_asked() else _ask
    given = to_paths(data or _ask_for_data(ask, sample))
    require_new(folder, given)
    wishes = Wishes(task.value if task else None, modality.value if modality else None, label, hospitals)
    look = None
    if given:
        if ask is None:
            with show_progress("Looking at the data", quiet=as_json) as advance:
                look = look_at_data(given, wishes, None, advance)
        else:  # a bar would be drawn over the questions
            errors.print("Looking at the data …")
            look = look_at_data(given, wishes, ask)
        _require_usable(look, as_json=as_json)
    with show_progress("Making the study", quiet=as_json or look is None) as advance:
        draft = draft_study(folder, look, name=name, sample=sample, has_gpu=has_cuda(), progress=advance)
    if not dry_run:
        draft.write()
    _tell(draft, is_written=not dry_run, as_json=as_json)


def _is_asked() -> bool:
    return sys.stdin.isatty()


def _ask_for_data(ask: Ask | None, sample: str) -> list[Path]:
    if sample:
        return []
    if ask is None:
        what = "neither data nor a sample study is named."
        raise ConfigError([Problem(_COMMAND, "--data, --from", what, "Name the folder of the data with '--data'.")])
    return [Path(typer.prompt("Folder of the data", err=True))]


def _ask(question: Question) -> str:
    kind = click.Choice(question.choices) if question.choices else str
    answer: str = typer.prompt(question.text, default=question.default or None, type=kind, err=True)
    return answer


def _require_usable(look: DataLook, *, as_json: bool) -> None:
    """End where nothing can be used, with what a check of the data says."""
    if look.task is not None:
        return
    if as_json:
        found = {check.site: [str(finding) for finding in check.all_findings] for check in look.checks}
        print_json({"written": False, "findings": found})
        raise typer.Exit(1)
    for check in look.checks:
        print_check(check, check.refusal.what if check.refusal else "Nothing here can be used.", verbose=False, files=[])
    raise typer.Exit(1)


def _tell(draft: StudyDraft, *, is_written: bool, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "folder": str(draft.folder),
                "written": is_written,
                "study": draft.file.app["config"],
                "assumed": draft.assumed,
                "to-be-checked": draft.doubts,
                "hospitals": draft.hospitals,
                "commands": draft.commands,
            }
        )
        return
    if not is_written:
        output.print(draft.file.text)
    for sentence in draft.assumed:
        errors.print(sentence)
    for name, count in draft.hospitals.items():
        errors.print(f"  {name}: {count} cases")
    for sentence in draft.doubts:
        errors.print(f"Check: {sentence}", style="yellow")
    if is_written:
        output.print(f"Wrote {draft.folder}.", style="green")
        for command in draft.commands:
            output.print(f"  {command}", soft_wrap=True)
