"""What a study can learn from a site, in plain words: how much it asks, how much the answers tell, and what nothing limits."""

from __future__ import annotations

import math
from collections.abc import Iterator

from medfl.deploy.disclosure_sum import SPLITS, DisclosureSum
from medfl.privacy.information import Information, Subject
from medfl.privacy.outcomes import MOST_PATIENTS
from medfl.site import Policy
from medfl.study import Study
from medfl.system.text import format_bytes, format_duration, join_words, plural

SummaryLine = tuple[str, str]  # subject and statement

_OPTIMIZERS = {"adam": "Adam", "adamw": "AdamW", "sgd": "gradient descent (SGD)"}
_SPLIT_WORDS = {"train": "training", "validation": "validation", "test": "the test"}


def describe_information(study: Study, policy: Policy, disclosed: DisclosureSum) -> Iterator[SummaryLine]:
    """Yield what a study can learn from a site, line by line.

    Parameters
    ----------
    study : Study
        The study.
    policy : Policy
        Policy of the site.
    disclosed : DisclosureSum
        The sum, for the patients of the site.
    """
    yield from _describe_questions(disclosed.information)
    yield from _describe_answers(study, policy, disclosed)
    yield from _describe_models(study, disclosed)
    yield from _describe_release(study, policy)


def _describe_questions(information: Information) -> Iterator[SummaryLine]:
    runs = "1 run" if information.runs == 1 else f"{information.runs} runs of the study"
    yield "asks", f"at most {plural(information.questions, 'question')} in a run, each answered once"
    yield "", f"{runs}, then no more unless you allow it (medfl site budget --add)"
    if information.joined_runs:
        further = plural(information.joined_runs, "further run may join and go", "further runs may join and go")
        yield "", f"{further} no further, as when another hospital is missing: one question each"


def _describe_answers(study: Study, policy: Policy, disclosed: DisclosureSum) -> Iterator[SummaryLine]:
    information = disclosed.information
    yield "tells", f"scores and codes: at most {_sum(information, 'scores')} (a byte is a letter of text)"
    yield "", f"that holds whatever the server sends, for {_describe_patients(disclosed)}"
    described = "counts of patients and images, and how many images have which fault"
    if study.task.kind == "segmentation":
        described += "; and the summary of sizes and shapes, if the planners ask for it"
    yield "", f"a description of your data: at most {_sum(information, 'data')} ({described})"
    yield "", "this depends on your data alone: while they are the same, each run is told the same again"
    yield "", f"the seconds that each training took: at most {_bytes(information.bytes_of('times'))} in a run"
    if information.unknown_algorithm:
        yield "", "the algorithm comes from another package: what it adds to an answer is not in these numbers"
    yield from _describe_scores(policy, disclosed)


def _describe_scores(policy: Policy, disclosed: DisclosureSum) -> Iterator[SummaryLine]:
    """Yield which splits are too small for any score to leave, and the noise of those that do."""
    sizes = disclosed.sizes or {}
    small = [split for split in SPLITS if split in sizes and 0 < sizes[split].patients < policy.min_count]
    for split in small:
        have = f"with {plural(sizes[split].patients, 'patient')} for {_SPLIT_WORDS[split]}, fewer than {policy.min_count}"
        yield "", f"{have}, {'your site cannot join' if split == 'train' else 'no score of them will leave'} ('min-count')"
    if policy.score_noise and policy.scores != "none" and not {"validation", "test"} <= set(small):
        epsilon, delta = policy.score_noise
        which = "other scores" if small else "scores"
        yield "", f"{which} leave with noise: epsilon {epsilon:g}, delta {delta:g} for 3 runs together; more runs add to it"


def _sum(information: Information, subject: Subject) -> str:
    total = f"{_bytes(information.total_bytes_of(subject))} in {plural(information.runs, 'run')}"
    joined = f" and {information.joined_runs} that only join" if information.joined_runs else ""
    return f"{_bytes(information.bytes_of(subject))} in a run, {total}{joined}"


def _bytes(count: int) -> str:
    return plural(count, "byte") if count < 10_000 else format_bytes(count)


def _describe_patients(disclosed: DisclosureSum) -> str:
    if disclosed.sizes is None:
        return f"up to {MOST_PATIENTS} patients in each part (yours could not be counted; see medfl data check)"
    counts = [f"{disclosed.sizes[split].patients} for {_SPLIT_WORDS[split]}" for split in SPLITS]
    return f"the patients that you have today: {join_words(counts)}"


def _describe_models(study: Study, disclosed: DisclosureSum) -> Iterator[SummaryLine]:
    information = disclosed.information
    size = "" if information.update_bytes is None else f", {format_bytes(information.update_bytes)} together"
    yield "models", f"besides, {plural(information.updates, 'trained model')} in a run{size}: nothing limits what these tell"
    if size:
        yield "", "a message is a little larger than that: names and headers come with the values"
    yield "", _describe_training(study, disclosed)
    yield "", "the fewer images at a time and the fewer steps, the more a model shows of single images"
    yield from (("", what) for what in _describe_alone(study))
    if disclosed.start_bytes:
        size = format_bytes(disclosed.start_bytes)
        yield (
            "comes",
            f"once, as your site is asked to join, the whole first model, {size}; each round the part that is trained",
        )


def _describe_training(study: Study, disclosed: DisclosureSum) -> str:
    training = study.training
    unit = "piece of an image" if training.patch else "image"
    batch = plural(training.batch_size, unit, "pieces of images" if training.patch else "images")
    if training.local_steps:
        amount = plural(training.local_steps, "step")
    elif disclosed.sizes is None or training.balanced_sampling:
        amount = f"{'once' if training.local_epochs == 1 else f'{training.local_epochs} times'} through all training images"
    else:
        pieces = disclosed.sizes["train"].cases * (training.patches_per_image if training.patch else 1)
        amount = f"about {plural(training.local_epochs * math.ceil(pieces / training.batch_size), 'step')}"
    return f"your machine learns from {batch} at a time, {amount} a round, by {_OPTIMIZERS[study.optimizer.name]}"


def _describe_alone(study: Study) -> Iterator[str]:
    """Yield in which ways others than the server get a model that your hospital alone trained."""
    if "local" in study.arms:
        yield "the model that your hospital trains alone goes to the other hospitals, who test it"
    if study.strategy.name == "cyclic":
        yield "the model goes from hospital to hospital: the next one gets it as yours left it"
    if study.contribution.method == "shapley":
        yield "to measure contributions, a model that your hospital alone trained in a round goes to all hospitals"
    elif study.contribution.method == "leave-one-out":
        yield "to measure contributions, models without one hospital go to all; with two hospitals, that is yours alone"


def _describe_release(study: Study, policy: Policy) -> Iterator[SummaryLine]:
    if policy.release != "by-hand":
        return
    yield "release", "by your policy each answer waits until you let it go: medfl site outbox --release"
    waits = format_duration(study.strategy.deadline)
    yield "", f"the study waits {waits} for the answers of a round, and Flower keeps a message for 12 hours"
    yield "", "while an answer waits, this site works on no other message: every other study waits with it"
    yield "", "an answer that is let go later is given when the server asks the same again"
