"""What a study will do at a hospital, in plain words: for whoever decides whether it may run there."""

from __future__ import annotations

from collections.abc import Iterator

from medfl.policy import broken_rules
from medfl.site import Site
from medfl.study import Study
from medfl.study.algorithms import ALGORITHMS

Line = tuple[str, str]  # what it is about, and what is said

_KINDS = {"segmentation": "learns to outline", "classification": "learns to tell apart"}
_UNNAMED = ("none",)


def in_words(study: Study) -> Iterator[Line]:
    """Yield what a study will do, line by line, from what decides it and nothing else.

    Parameters
    ----------
    study : Study
        To be approved.
    """
    task, training = study.task, study.training
    what = task.foreground if task.kind == "segmentation" else task.classes
    yield "task", f"{_KINDS[task.kind]} {', '.join(what)} in {task.dimension}-D {task.modality} images ({task.kind})"
    yield "data", "all usable cases of the folder in your site.toml; patients are split into training, validation and test here"
    steps = f"{training.local_steps} steps" if training.local_steps else f"{training.local_epochs} epochs"
    yield "work", f"{study.rounds} rounds; in each, your machine trains {steps} on your training patients, {_scoring(study)}"
    if "local" in study.simulation.arms:
        yield "", "the same again alone, for comparison: that model goes to the other hospitals to be tested there"
    yield "network", f"{study.network.name}; algorithm {study.strategy.name}{_foreign(study)}"
    yield from _leaving(study)
    yield (
        "stays",
        "images, labels, file names, names, dates, header texts, pseudonyms; texts of errors, of which a code alone leaves",
    )
    yield from _staying(study)
    yield "privacy", "no secure aggregation and no differential privacy: the server sees your update by itself"
    yield "quorum", f"a round counts with {study.strategy.quorum} or more hospitals{_patients(study)}"


def conflicts(study: Study, site: Site) -> list[str]:
    """Return what of a study the site's own policy would refuse, in plain words."""
    return [what for _, what in broken_rules(study, site.policy)]


def _scoring(study: Study) -> str:
    every = study.evaluation.every
    return "and scores the model on your validation patients" + (f" every {every} rounds" if every > 1 else "")


def _foreign(study: Study) -> str:
    return "" if study.strategy.name in ALGORITHMS else ", which is of another package: your site must have installed it"


def _leaving(study: Study) -> Iterator[Line]:
    kept = f" but for its layers of kind {', '.join(study.local_layers)}" if study.local_layers else ""
    codec = study.compression.codec
    small = f", made smaller by {codec}" if codec not in _UNNAMED else ""
    yield (
        "leaves",
        f"each round: the trained model{kept}{small}; the number of training patients, cases and steps, loss and seconds",
    )
    yield "", "scores over your validation patients, at the end over your test patients, as counts and sums"
    yield "", "at the start: how many patients and cases there are, and how many are left out, by reason"
    yield "", "numbers over fewer patients than 'min-count' of your policy do not leave"


def _staying(study: Study) -> Iterator[Line]:
    if study.has_personal_models:
        yield "", "a model of your own is kept on your disk"


def _patients(study: Study) -> str:
    least = study.strategy.min_patients
    return f" that bring {least} or more training patients together" if least else ""
