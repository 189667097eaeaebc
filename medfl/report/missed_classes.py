"""Classes that a model does not find: in how many of the test patients who have one it found nothing of it.

The numbers are those that hospitals tell. A hospital whose policy hides one of a class counts neither for nor against it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from medfl.metrics import class_key, confusion_matrix
from medfl.metrics.keys import class_metric_key
from medfl.report.report_data import ReportData
from medfl.report.site_tests import SiteTest

_WORTH_TELLING = 0.5  # share of missed patients from which on a class is named


@dataclass(frozen=True)
class MissedClass:
    """A class: patients who have it, those of them in whom it was missed, and hospitals that do not tell."""

    name: str
    missed: int
    present: int
    hiding: int


def missed_classes(data: ReportData) -> list[MissedClass]:
    """Return the classes that the shared model missed in at least half of the test patients who have them, worst first.

    In a classification, a patient is missed whose images of a class the model called another.
    """
    found = [_count_missed(data, name) for name in data.study.task.foreground]
    worth = [each for each in found if each.missed and each.missed >= _WORTH_TELLING * each.present]
    return sorted(worth, key=lambda each: (-each.missed / each.present, -each.present, each.name))


def missed_sentences(data: ReportData) -> Iterator[str]:
    """Yield a sentence on the classes that the shared model does not find; none where it finds them."""
    found = missed_classes(data)
    if not found:
        return
    verb = "found nothing of" if data.study.task.kind == "segmentation" else "did not recognise"
    items = [f"{each.name} in {_share(each)}" for each in found]
    yield f"The shared model {verb} {', '.join(items)}."


def _share(each: MissedClass) -> str:
    who = "test patients who have it" if each.present != 1 else "test patient who has it"
    share = f"all {each.present}" if each.missed == each.present and each.present > 1 else f"{each.missed} of {each.present}"
    others = "hospitals do" if each.hiding > 1 else "hospital does"
    return f"{share} {who}{f' ({each.hiding} other {others} not tell)' if each.hiding else ''}"


def _count_missed(data: ReportData, name: str) -> MissedClass:
    count = _count_segmented if data.study.task.kind == "segmentation" else _count_classified
    told = [count(data, tested, name) for tested in data.site_tests]
    counts = [pair for pair in told if pair is not None]
    missed, present = (sum(column) for column in zip(*counts, strict=True)) if counts else (0, 0)
    return MissedClass(name, missed, present, len(told) - len(counts))


def _count_segmented(_: ReportData, tested: SiteTest, name: str) -> tuple[int, int] | None:
    """Return the missed patients of one hospital, and those who have the class; None where it hides them."""
    key = class_key(name)
    if any(tested.is_hidden(what) for what in ("", f"scores-hidden.{key}", f"missed-hidden.{key}")):
        return None
    missed, present = (tested.metrics.get(class_metric_key(metric, key), 0) for metric in ("missed", "present"))
    return (missed, present) if isinstance(missed, int) and isinstance(present, int) else None


def _count_classified(data: ReportData, tested: SiteTest, name: str) -> tuple[int, int] | None:
    if tested.is_hidden("") or tested.is_hidden("confusion-hidden"):
        return None
    try:
        matrix = confusion_matrix(tested.metrics)
    except (KeyError, TypeError):  # written by another version
        return None
    index = data.study.task.classes.index(name)
    return (sum(matrix[index]) - matrix[index][index], sum(matrix[index])) if index < len(matrix) else None
