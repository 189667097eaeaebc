"""What a look at the data decides of a new study: its choices, and what is said of the data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from statistics import median_low

from medfl.api.data_look import DataLook, Progress
from medfl.data.layouts.named_things import name_words, read_things
from medfl.data.quality.study_inference import make_study
from medfl.data.site_fingerprint import compute_fingerprint
from medfl.errors import DataError
from medfl.planning.fingerprint import Fingerprint, merge
from medfl.planning.image_choices import choose_for_images
from medfl.planning.plan import Plan, make_plan
from medfl.planning.study_choices import Choice, DataSummary, choose_training
from medfl.study.task import Task
from medfl.system.text import plural


def choose_for_data(
    look: DataLook, task: Task, *, has_gpu: bool, is_planned: bool, progress: Progress | None = None
) -> tuple[list[Choice], list[str]]:
    """Return the choices for data that was looked at, and sentences about the data and what was assumed.

    Parameters
    ----------
    look : DataLook
        The data.
    task : Task
        Its task.
    has_gpu : bool
        Whether this machine has a GPU.
    is_planned : bool
        Whether volumes that are segmented are read once for a plan by nnU-Net's rules.
    progress : callable, optional
        Called with (done, in all, what is being done).
    """
    plan, said = _plan(look, task, progress) if is_planned else (None, [])
    data = _summarize(look, task, plan, has_gpu=has_gpu)
    for_images, batch = choose_for_images(data)
    for_simulation = [Choice(f"simulation.{key}", value) for key, value in look.simulation.items()]
    choices = [*_task_choices(task, look.doubts), *for_images, *choose_training(data, batch), *for_simulation]
    return choices, [*_describe(look, task), *look.assumed, *said]


def _task_choices(task: Task, doubts: dict[str, str]) -> Iterator[Choice]:
    yield Choice("task.kind", task.kind)
    yield Choice("task.dimension", task.dimension)
    why = doubts.get("task.modality", "")
    yield Choice("task.modality", task.modality, why, is_doubtful=bool(why))
    why = doubts.get("task.classes", "")
    yield Choice("task.classes", ",".join(task.classes), why, is_doubtful=bool(why))
    if task.channel_names:
        yield Choice("task.channels", ",".join(task.channel_names))


def _summarize(look: DataLook, task: Task, plan: Plan | None, *, has_gpu: bool) -> DataSummary:
    cases = [case for _, check in look.usable for case in check.usable]
    sites = max(1, look.hospitals)
    patients = len({(check.site, case.patient) for _, check in look.usable for case in check.usable})
    return DataSummary(
        task=task,
        shape=tuple(map(int, _medians([case.size for case in cases], task.dimension))),
        spacing=_medians([case.spacing for case in cases], task.dimension),
        class_cases=_count_classes(look, task),
        patients_a_site=max(1, patients // sites),
        cases_a_site=max(1, len(cases) // sites),
        names_sides=any(read_things(tuple(name_words(name))).sides for name in task.classes),
        has_gpu=has_gpu,
        plan=plan,
    )


def _medians(values: Sequence[tuple[float, ...]], axes: int) -> tuple[float, ...]:
    known = [value[:axes] for value in values if len(value) >= axes]
    return tuple(median_low(axis) for axis in zip(*known, strict=True))


def _count_classes(look: DataLook, task: Task) -> tuple[int, ...]:
    if task.kind == "segmentation":
        return ()
    counts: Counter[str] = Counter()
    for _, check in look.usable:
        names = check.task.classes if check.task else ()
        counts.update(names[index].casefold() for case in check.usable for index, _ in case.amounts)
    return tuple(counts[name.casefold()] for name in task.classes)


def _plan(look: DataLook, task: Task, progress: Progress | None) -> tuple[Plan | None, list[str]]:
    """Plan the segmentation of volumes by nnU-Net's rules; every case is read once. None where no plan is made, and why."""
    if task.kind != "segmentation" or task.dimension != 3:
        return None, []
    study = make_study(task.kind, task.dimension, task.modality, task.classes, task.channel_names)
    found: list[Fingerprint] = []
    said = []
    for number, (site, _) in enumerate(look.usable, start=1):
        what = f"Measuring the images of {plural(len(look.usable), 'folder')}: {number}"
        step = (lambda done, total, what=what: progress(done, total, what)) if progress else None
        try:
            found.append(compute_fingerprint(site, study, step, is_simulated=True).fingerprint)
        except DataError as error:
            said.append(f"{site.name} takes no part in the plan by nnU-Net's rules: {error.what}")
    if not sum(fingerprint.cases for fingerprint in found):
        return None, said
    try:
        return make_plan(merge(found), study), said
    except DataError as error:
        return None, [*said, f"No plan by nnU-Net's rules could be made: {error.what}"]


def _describe(look: DataLook, task: Task) -> Iterator[str]:
    cases = sum(len(check.usable) for _, check in look.usable)
    lost = sum(len(check.left_out) for check in look.checks)
    yield f"{task.kind.capitalize()} of {task.dimension}-D {task.modality} images: {', '.join(task.classes)}."
    left = f", {lost} left out: 'medfl data check' says why" if lost else ""
    yield f"{plural(cases, 'usable case')}{left}. Headers were looked at, and not every pixel."
    if any(not check.patient_ids for _, check in look.usable):
        yield "The data does not name patients: one image is one patient, so images of one may be on both sides of a split."
