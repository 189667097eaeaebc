"""A look at the data of a new study: what lies in the folders, and which task that is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from medfl.api.study_questions import COMMAND, WHOLE, Ask, Wishes, choose_hospitals, choose_label, choose_modality
from medfl.data.layouts.index_roles import IndexRoles, read_index_roles
from medfl.data.quality.dataset_names import read_stated_modality
from medfl.data.quality.facts import SiteCheck
from medfl.data.quality.site_check import check_site
from medfl.data.simulated_sites import read_simulated_sites
from medfl.errors import ConfigError, Problem
from medfl.site import Site
from medfl.study import Simulation
from medfl.study.task import Task
from medfl.system.text import plural

_SITE_FILE = "site.toml"
_DESCRIBE = "Describe each folder with a site.toml, which 'medfl site init' makes."
_NO_NAME = re.compile(r"marked|label \d+")  # of a class whose masks have values alone


class Progress(Protocol):
    """What work calls to say how far it is."""

    def __call__(self, done: int, total: int, what: str = "") -> None:
        """Say how much is done, of how much, and what is being done if that changes."""


@dataclass(frozen=True, eq=False)
class DataLook:
    """What was seen of the data of a new study.

    Parameters
    ----------
    folders : tuple of Path
        Folders of the data, absolute.
    sites : tuple of Site
        Folders with a ``site.toml``, or each folder as a whole.
    checks : tuple of SiteCheck
        Check of each site, by headers alone.
    task : Task, optional
        The task; None when nothing can be used.
    simulation : dict
        Keys of the table ``simulation``, without the folders.
    assumed : tuple of str
        What was assumed, in sentences.
    doubts : dict
        Keys of the study that the data does not say, each with what was assumed.
    hospitals : int
        Number of hospitals that the data becomes.
    """

    folders: tuple[Path, ...]
    sites: tuple[Site, ...]
    checks: tuple[SiteCheck, ...]
    task: Task | None
    simulation: dict[str, Any]
    assumed: tuple[str, ...]
    doubts: dict[str, str]
    hospitals: int = 0

    @property
    def usable(self) -> tuple[tuple[Site, SiteCheck], ...]:
        """Sites that have usable cases, each with its check."""
        return tuple((site, check) for site, check in zip(self.sites, self.checks, strict=True) if check.usable)


def look_at_data(folders: Sequence[Path], wishes: Wishes, ask: Ask | None = None, progress: Progress | None = None) -> DataLook:
    """Look at the data of a new study, by headers and indices alone.

    Parameters
    ----------
    folders : sequence of Path
        Absolute folders: of hospitals with a ``site.toml``, of several such, or of data sets; a ``site.toml`` is its folder.
    wishes : Wishes
        What is known.
    ask : callable, optional
        Asks a person for what the data does not say.
    progress : callable, optional
        Called with (done, in all, what is being done).

    Raises
    ------
    ConfigError
        When a folder is not there, the folders do not belong together, or the label is not certain.
    DataError
        What `medfl.data.simulated_sites.read_simulated_sites` raises.
    """
    folders = tuple(folder.parent if folder.name == _SITE_FILE else folder for folder in folders)
    if missing := [folder for folder in folders if not folder.is_dir()]:
        raise ConfigError([Problem(COMMAND, "--data", f"there is no folder {str(folder)!r}.") for folder in missing])
    described = any(map(_has_site_file, folders))
    roles = [] if described else [each for each in map(read_index_roles, folders) if each]
    if 0 < len(roles) < len(folders):
        raise ConfigError(
            [Problem(COMMAND, "--data", "some of these folders have a table of images, and others none.", _DESCRIBE)]
        )
    simulation, assumed = _read_roles(roles, wishes, ask) if roles else ({}, [])
    sites = _read_sites(folders, simulation if described else {**simulation, "partition": "none"})
    checks = tuple(_check(site, wishes, progress) for site in sites)
    found = [check for check in checks if check.usable and check.task]
    if not found:
        return DataLook(folders, sites, checks, None, simulation, tuple(assumed), {})
    task, doubts = _settle_task(found, folders, sites, wishes, ask)
    assumed += [f"{check.site}: nothing can be used; see 'medfl data check'." for check in checks if check not in found]
    if not described:
        patients = sum(len({case.patient for case in check.usable}) for check in found)
        known = replace(wishes, label=str(simulation.get("label", "")))
        answer = choose_hospitals(roles, len(folders), patients, known, ask)
        simulation |= _partition(answer)
        assumed.append(_say_hospitals(answer, roles, len(folders)))
    return DataLook(folders, sites, checks, task, simulation, tuple(assumed), doubts, len(_read_sites(folders, simulation)))


def _has_site_file(folder: Path) -> bool:
    return (folder / _SITE_FILE).is_file() or any(folder.glob(f"*/{_SITE_FILE}"))


def _read_sites(folders: Sequence[Path], keys: Mapping[str, Any]) -> tuple[Site, ...]:
    return read_simulated_sites(Simulation(data=tuple(map(str, folders)), **keys))


def _check(site: Site, wishes: Wishes, progress: Progress | None) -> SiteCheck:
    found, _ = check_site(
        site,
        None,
        fast=True,
        modality=wishes.modality,
        indexing=(lambda done, total: progress(done, total, "Reading headers")) if progress else None,
        progress=(lambda done, total: progress(done, total, "Looking at the cases")) if progress else None,
    )
    return found


def _read_roles(roles: Sequence[IndexRoles], wishes: Wishes, ask: Ask | None) -> tuple[dict[str, Any], list[str]]:
    """Return the keys that say what the columns of the index are, and what is to be said of it."""
    label, image, patient = choose_label(roles, wishes, ask), roles[0].image, roles[0].patient
    if any((each.image, each.patient) != (image, patient) for each in roles):
        what = "the tables of these folders have other columns of images or patients."
        raise ConfigError([Problem(COMMAND, "--data", what, f"Call the columns alike. {_DESCRIBE}")])
    assumed = [f"Images: {image!r} of the index. Label: {label!r}."]
    others = [name for name in (*roles[0].masks, *roles[0].classes) if name != label]
    if others and not wishes.label:
        assumed.append(f"The label could also be {', '.join(others)}: choose with '--label'.")
    blanks = [each.find_blanks(label) for each in roles]
    keys: dict[str, Any] = {"image": image, "label": label, "patient": patient}
    if count := sum(rows for _, rows in blanks):
        texts = sorted({text for where, _ in blanks for text in where.partition("!=")[2].split("|") if where})
        keys["where"] = f"{label}!={'|'.join(texts)}"
        assumed.append(f"{plural(count, 'row')} without a label {'is' if count == 1 else 'are'} left out.")
    return keys, assumed


def _merge_tasks(tasks: Sequence[Task], wishes: Wishes) -> Task:
    """Return the one task of several folders, with the classes of all of them."""
    for key in ("kind", "dimension", "modality", "channels"):
        values = list(dict.fromkeys(getattr(task, key) for task in tasks))
        if len(values) > 1 and not (key == "modality" and wishes.modality):
            what = f"these folders differ in {key}: {' and '.join(map(str, values))}."
            fix = "Choose with '--modality'." if key == "modality" else "Name folders that belong together."
            raise ConfigError([Problem(COMMAND, "--data", what, fix)])
    if wishes.task and tasks[0].kind != wishes.task:
        has = "masks" if tasks[0].kind == "segmentation" else "classes, and no masks,"
        what = f"came {wishes.task!r}, and the labels in the data are {has.rstrip(',')}."
        raise ConfigError([Problem(COMMAND, "--task", what, f"Leave it out, or write {tasks[0].kind!r}.")])
    names = {name.casefold(): name for task in reversed(tasks) for name in reversed(task.classes)}
    classes = tuple(names[key] for key in dict.fromkeys(name.casefold() for task in tasks for name in task.classes))
    if with_comma := [name for name in classes if "," in name]:
        what = f"the class {with_comma[0]!r} has a comma, which separates classes in a study."
        raise ConfigError([Problem(COMMAND, "task.classes", what, "Write it without the comma in the data.")])
    return tasks[0].model_copy(update={"classes": classes, "modality": wishes.modality or tasks[0].modality})


def _settle_task(
    found: Sequence[SiteCheck], folders: Sequence[Path], sites: Sequence[Site], wishes: Wishes, ask: Ask | None
) -> tuple[Task, dict[str, str]]:
    """Return the task, and what the data does not say of it: DICOM and some data sets say their modality, pictures do not."""
    task = _merge_tasks([check.task for check in found if check.task], wishes)
    doubts = {}
    if task.kind == "segmentation" and any(_NO_NAME.fullmatch(name) for name in task.classes):
        doubts["task.classes"] = "The data does not name its classes: give them names, in the order of their values."
    kinds = {case.kind for check in found for case in check.usable}
    if wishes.modality or kinds == {"dicom"} or all(read_stated_modality(site.root) for site in sites):
        return task, doubts
    modality, why = choose_modality(folders, task.modality, ask)
    return task.model_copy(update={"modality": modality}), {**({"task.modality": why} if why else {}), **doubts}


def _partition(answer: str) -> dict[str, Any]:
    if answer == WHOLE:
        return {"partition": "none"}
    return {"partition": "random", "sites": int(answer)} if answer.isdecimal() else {"partition": "column", "column": answer}


def _say_hospitals(answer: str, roles: Sequence[IndexRoles], folders: int) -> str:
    if answer == WHOLE:
        return "Each folder is one hospital." if folders > 1 else "The data set is one hospital."
    if answer.isdecimal():
        nothing = "" if any(each.hospitals for each in roles) else "Nothing names hospitals. "
        return f"{nothing}Patients are divided among {answer} hospitals at random; '--hospitals' chooses otherwise."
    blank = sum(not row.get(answer, "") for each in roles for row in each.table.rows)
    lost = f" {plural(blank, 'row')} without one {'is' if blank == 1 else 'are'} left out." if blank else ""
    return f"Hospitals: column {answer!r} of the index.{lost}"
