"""What users of this field ask for and medfl does not do: said in a sentence where a study tries it, with what can be done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from medfl.errors import Problem


@dataclass(frozen=True)
class NotOffered:
    """Something that medfl does not do.

    Parameters
    ----------
    words : frozenset of str
        Values or keys by which a study asks for it, in small letters with ``-`` between words.
    what : str
        What is not there.
    fix : str
        What can be done instead.
    """

    words: frozenset[str]
    what: str
    fix: str


def _not_offered(words: str, what: str, fix: str) -> NotOffered:
    return NotOffered(frozenset(words.split()), what, fix)


_KINDS = (
    _not_offered(
        "regression survival age-estimation",
        "medfl trains segmentation and classification; it predicts no numbers, such as an age or a time.",
        'Cut the number into classes, for example classes = "below-65,from-65", where that answers the question.',
    ),
    _not_offered(
        "multi-label multilabel multi-label-classification",
        "an image has one class; several findings in one image cannot be learned together.",
        'Make a study for each finding, with classes = "absent,present".',
    ),
    _not_offered(
        "detection object-detection boxes",
        "medfl trains segmentation and classification; it finds no boxes.",
        'Where there are masks, or boxes can be filled as masks, choose kind = "segmentation".',
    ),
    _not_offered(
        "registration synthesis generation reconstruction self-supervised pretraining",
        "medfl trains segmentation and classification, and nothing without labels.",
        'Choose kind = "segmentation" or "classification".',
    ),
)
_GREY = "images are read as grey values; colour, as of slides, skin or the eye, is not."
_MODALITIES = (
    _not_offered("cr dx dr rf xa x-ray xray cxr", "DICOM has several words for projection X-ray.", 'Write modality = "XR".'),
    _not_offered("mri mrt", "DICOM's word for it is MR.", 'Write modality = "MR".'),
    _not_offered("ultrasound sonography", "DICOM's word for it is US.", 'Write modality = "US".'),
    _not_offered(
        "pt pet nm spect pet-ct mg mammography oct opt",
        "medfl reads MR, CT, projection X-ray and ultrasound; how images of another modality are scaled, it does not know.",
        "Take another framework for these images.",
    ),
    _not_offered(
        "rgb colour color sm histology pathology wsi xc op fundus dermoscopy endoscopy es", _GREY, "Use images that are grey."
    ),
)
_ARMS = (
    _not_offered(
        "central centralised centralized",
        "the arm that trains on the patients of all hospitals in one place has another name.",
        'Write arms = "federated,local,pooled".',
    ),
)
_KEYS = (
    _not_offered(
        "cross-validation folds fold k-fold kfold cv",
        "patients are split once; there is no cross-validation.",
        "Repeat the study with other splits: medfl sweep STUDY --seeds 1,2,3, without split-seed.",
    ),
    _not_offered(
        "regions overlapping overlapping-regions",
        "each voxel has one class; structures that overlap, such as a tumour and its core, are not learned as such.",
        "Number the parts so that each voxel has one class, and join them afterwards.",
    ),
    _not_offered("multi-label multilabel", _KINDS[1].what, _KINDS[1].fix),
    _not_offered(
        "external external-hospitals",
        "hospitals that are only tested on are named elsewhere.",
        'Write them in the table evaluation, for example external = "hospital-c".',
    ),
    _not_offered(
        "secure-aggregation secagg secagg-plus",
        "secure aggregation is not there: the server sees each hospital's update.",
        "See docs/threats.md for what that means.",
    ),
    _not_offered(
        "differential-privacy dp epsilon",
        "differential privacy of updates is not there; a hospital may add noise to its scores.",
        "See 'score-noise' in docs/policy.md.",
    ),
    _not_offered(
        "pretrained weights-file checkpoint initial-weights",
        "start weights have a table of their own.",
        "Write it with: medfl study start STUDY MODEL, where MODEL is a file or a name in 'medfl models list'.",
    ),
)
_BY_VALUE = {"task.kind": _KINDS, "task.modality": _MODALITIES, "arms": _ARMS}


def say_what_is_not_offered(problem: Problem, values: Mapping[str, Any]) -> Problem:
    """Return a problem of a study with what medfl does not do, where the study asks for that; else as it is.

    Parameters
    ----------
    problem : Problem
        A value or a key that is refused.
    values : mapping
        Tables of the study.
    """
    found = next(_asked_for(problem, values), None)
    return replace(problem, what=found.what, fix=found.fix) if found else problem


def _asked_for(problem: Problem, values: Mapping[str, Any]) -> Iterator[NotOffered]:
    if problem.key in _BY_VALUE:
        words = {_fold(part) for part in str(_look_up(values, problem.key)).split(",")}
        yield from (each for each in _BY_VALUE[problem.key] if each.words & words)
    else:
        asked = {_fold(problem.key.rpartition(".")[2])} | {_fold(key) for key in _inner_keys(_look_up(values, problem.key))}
        yield from (each for each in _KEYS if each.words & asked)


def _inner_keys(value: object) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, Mapping) else ()


def _look_up(values: Mapping[str, Any], key: str) -> object:
    inside: Any = values
    for part in key.split("."):
        inside = inside.get(part) if isinstance(inside, Mapping) else None
    return inside


def _fold(word: str) -> str:
    return "-".join(word.strip().casefold().replace("_", " ").replace("-", " ").split())
