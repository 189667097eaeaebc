"""Command `medfl site models`: the models that a hospital keeps of the studies that it took part in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from medfl.cli.console import output, print_json
from medfl.cli.options import JsonOption, YesOption, confirm
from medfl.system.text import format_bytes, plural

if TYPE_CHECKING:
    from medfl.models.kept_model_check import KeptModelCheck
    from medfl.runs.kept_models import KeptModel

    Checked = tuple[KeptModel, KeptModelCheck]

_WHICH = {"shared": "the model of all hospitals", "personal": "your own model"}
_STANDINGS = {
    "signed": "signed by the server of {}",
    "other-authority": "signed by a server that calls itself {}, which your federation does not vouch for",
    "own": "made here",
    "unsigned": "signed by nobody: put there by somebody else",
    "changed": "changed since, or of unknown origin",
    "other-rest": "the rest of the network was changed since, or is drawn otherwise by the software that is installed now",
    "no-start": "signed as a part, but the first model that completes it was removed, so that this cannot be checked",
    "not-kept": "not kept: the disk was full, or the site was stopped",
}
_BAD = ("changed", "other-rest", "no-start", "not-kept", "unsigned", "other-authority")


def models(
    folder: Annotated[Path, typer.Argument(metavar="[SITE]", help="Folder of the site.toml.")] = Path(),
    remove: Annotated[list[int] | None, typer.Option("--remove", metavar="N", help="Remove model N of the list.")] = None,
    yes: YesOption = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what --remove would remove.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List the models that this site keeps of its studies, each checked against what the server signed; or remove some.

    Exit code 1: a model is not what the server of this federation sent, or could not be kept. The test results are this site's
    own notes, which nobody signed.
    """
    from medfl.data.store.cache_key import site_root
    from medfl.models.kept_model_check import check_kept_model
    from medfl.runs.kept_models import list_kept, models_folder
    from medfl.site import read_site

    site = read_site(folder)
    kept = list_kept(models_folder(site))
    if remove:
        _remove(kept, remove, yes=yes, dry_run=dry_run)
        return
    ca = site.folder / site.federation.ca if site.federation else None
    authority = ca.read_bytes() if ca and ca.is_file() else None
    checked = [(model, check_kept_model(model, authority, site_root(site))) for model in kept]
    if as_json:
        print_json([_to_json(number, *each) for number, each in enumerate(checked, start=1)])
    elif checked:
        _print_models(checked, folder)
    else:
        off = "" if site.policy.keep_models else " Your policy keeps none: keep-models is false."
        output.print(f"This site keeps no model: one comes with the test at the end of a study.{off}")
    if any(check.standing in _BAD for _, check in checked):
        raise typer.Exit(1)


def _remove(kept: Sequence[KeptModel], numbers: Sequence[int], *, yes: bool, dry_run: bool) -> None:
    from medfl.runs.kept_models import remove_kept

    if unknown := [number for number in numbers if not 1 <= number <= len(kept)]:
        have = f"the list has {plural(len(kept), 'model')}" if kept else "this site keeps no model"
        raise typer.BadParameter(f"there is no model {unknown[0]}: {have}.", param_hint="--remove")
    chosen = [kept[number - 1] for number in dict.fromkeys(numbers)]
    for model in chosen:
        output.print(f"{model.study}, run {model.run}, {_WHICH[model.which]}: {format_bytes(model.size)}")
    if dry_run:
        output.print("Nothing was removed: this was a dry run.")
        return
    confirm(f"Remove {plural(len(chosen), 'model')}? The server will not send it again.", yes=yes)
    for model in chosen:
        remove_kept(model)
    output.print(f"Removed {plural(len(chosen), 'model')}.")


def _print_models(checked: Sequence[Checked], folder: Path) -> None:
    """Print a model in three lines, which a table of the same would not fit in."""
    usable = False
    for number, (model, check) in enumerate(checked, start=1):
        is_bad = check.standing in _BAD
        round_ = "" if model.round is None else f", round {model.round}"
        size = f", {format_bytes(model.size)}" if model.is_there else ""
        came = model.kept[:10] or "at an unknown time"
        standing = (_STANDINGS[check.standing].format(check.federation), "red" if is_bad else "")
        head = Text.assemble(f"{number}  ", (model.study, "bold"), f", run {model.run}{round_}: {_WHICH[model.which]}")
        output.print(head, soft_wrap=True)
        output.print(Text.assemble(f"   {_describe_test(model)}, came {came}{size}, ", standing), soft_wrap=True)
        if not is_bad:
            usable = True
            output.print(Text(f"   {_from_here(model.path, folder)}"), soft_wrap=True)
    if usable:
        output.print("Use one, by its path: medfl predict MODEL IMAGES --out FOLDER")


def _from_here(path: Path, folder: Path) -> Path:
    """Return the path as seen from where the command was given, as short as the folder was."""
    return folder / path.relative_to(folder.resolve()) if path.is_relative_to(folder.resolve()) else path


def _describe_test(model: KeptModel) -> str:
    score, patients = model.test.get("score"), model.test.get("patients")
    if score is None:
        return "no result here"
    return f"{score:.3f} on {plural(int(patients or 0), 'test patient')} of yours"


def _to_json(number: int, model: KeptModel, check: KeptModelCheck) -> dict[str, Any]:
    return {
        "number": number,
        "path": str(model.path),
        "study": model.study,
        "hash": model.study_hash,
        "run": model.run,
        "model": model.which,
        "round": model.round,
        "test": dict(model.test),
        "kept": model.kept,
        "bytes": model.size,
        "sha256": model.sha256,
        "is": check.standing,
        "federation": check.federation,
    }
