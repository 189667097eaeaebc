"""Summary of what a study will do at a hospital, in plain words, for those who decide whether it may run there."""

from __future__ import annotations

from collections.abc import Iterator

from medfl.deploy.disclosure_sum import DisclosureSum
from medfl.deploy.information_summary import SummaryLine, describe_information
from medfl.deploy.untrusted_bundle import sanitize
from medfl.privacy.policy_checks import find_violations, may_tell_losses
from medfl.site import Policy, Site
from medfl.study import Study
from medfl.study.algorithms import ADDITIONS, ALGORITHMS
from medfl.study.model_words import describe_part
from medfl.system.text import join_words, plural

_DEFAULT_POLICY = Policy()
_MAX_CHARACTERS = 10_000  # of a line: a list of classes must not be cut
_KIND_WORDS = {"segmentation": "learns to outline", "classification": "learns to tell apart"}
_MODALITY_WORDS = {"MR": "MR", "CT": "CT", "XR": "X-ray", "US": "ultrasound"}


def describe(study: Study, policy: Policy = _DEFAULT_POLICY, disclosed: DisclosureSum | None = None) -> Iterator[SummaryLine]:
    """Yield what a study will do, line by line, derived from the settings that decide it and nothing else.

    Parameters
    ----------
    study : Study
        Study to be approved. Text that its planners wrote is made safe for a terminal.
    policy : Policy, optional
        Policy of the site.
    disclosed : DisclosureSum, optional
        How much the study can learn from the site; not told unless given.
    """
    for statements in (
        _describe_task(study),
        _describe_work(study),
        _describe_model(study),
        _describe_outgoing(study, policy),
        _describe_retained(study, policy),
        describe_information(study, policy, disclosed) if disclosed else (),
        _describe_privacy(study),
    ):
        yield from ((subject, sanitize(statement, _MAX_CHARACTERS)) for subject, statement in statements)


def policy_conflicts(study: Study, site: Site) -> list[str]:
    """Return what the site's own policy would refuse of a study, in plain words."""
    return [sanitize(violation) for _, violation in find_violations(study, site.policy)]


def _describe_task(study: Study) -> Iterator[SummaryLine]:
    task = study.task
    images = f"{task.dimension}-D {_MODALITY_WORDS[task.modality]} images"
    yield "task", f"{_KIND_WORDS[task.kind]} {', '.join(task.foreground)} in {images} ({task.kind})"
    yield "data", "reads all usable images and labels of the folder in your site.toml, and writes nothing into it"
    yield "", f"your patients are divided here: {_format_splits(study)}"


def _format_splits(study: Study) -> str:
    validation, test = study.splits.validation, study.splits.test
    return f"{1 - validation - test:.0%} for training, {validation:.0%} for validation, {test:.0%} for the test at the end"


def _describe_work(study: Study) -> Iterator[SummaryLine]:
    training, every = study.training, study.evaluation.every
    amount = plural(training.local_steps, "step") if training.local_steps else plural(training.local_epochs, "epoch")
    scores = "and scores the model on your validation patients" + (f" every {every} rounds" if every > 1 else "")
    yield "work", f"{plural(study.rounds, 'round')}; in each, your machine trains {amount} on your training patients, {scores}"
    if study.contribution.method in ("leave-one-out", "shapley"):
        interval = "each round" if study.contribution.every == 1 else f"every {study.contribution.every} rounds"
        yield (
            "",
            f"{interval} it scores further models, to measure what each hospital contributes ({study.contribution.method})",
        )
    if "local" in study.arms:
        yield "", "the same again alone, for comparison"
    if study.personal.fine_tune_steps:
        yield "", f"at the end it trains {plural(study.personal.fine_tune_steps, 'step')} more, for a model of your own"


def _describe_model(study: Study) -> Iterator[SummaryLine]:
    yield "network", study.network.name
    yield from (("", what) for what in describe_part(study))
    yield from _describe_start(study)
    known = ALGORITHMS.get(study.strategy.name)
    if known is None:
        yield "algorithm", f"{study.strategy.name}, which comes from another package: your site must have installed it"
    else:
        yield "algorithm", f"the server combines all models into one by {known.title}: {known.idea}"
    if study.strategy.max_share < 1:
        share = f"{100 * study.strategy.max_share:.4g}% of the weight"
        yield "", f"no hospital counts for more than {share} of a round in which all answer with what they told at the start"


def _describe_start(study: Study) -> Iterator[SummaryLine]:
    start = study.start
    if not start.is_given:
        return
    origin = f"of {start.source or 'an unstated source'}, under {start.licence or 'no stated licence'}"
    yield "start", f"it does not begin with weights from the seed, but with {start.name or start.file}, {origin}"
    yield "", f"SHA-256 of that file: {start.sha256}"
    yield "", f"digest of the first model made of it: {start.arrays}"
    if study.sends_start:
        yield "", "it comes whole as your site is asked to join, and is kept there; your site refuses another first model"
    else:
        yield "", "your site refuses another first model; one that it gets in a later round first, it cannot hold against this"
    if start.studies:
        then = "moved into your training patients" if start.patients == "move" else "found, and your site then takes no part"
        yield "", f"earlier studies trained it; test patients whom these trained on here are {then}"
    else:
        yield "", "it is not known who trained this: nobody is kept apart, and it may have been trained on your test patients"
    if study.network.norm == "batch-frozen":
        yield "", "its batch norm stays as it is: statistics and affine parameters are not trained"


def _describe_outgoing(study: Study, policy: Policy) -> Iterator[SummaryLine]:
    known = ALGORITHMS.get(study.strategy.name)
    yield (
        "leaves",
        "at the start: the name of your site; how many patients and images there are for training, validation and test; how "
        "many images are left out or doubtful, with codes for the reasons; whether patients can be told apart, and which "
        "classes are annotated",
    )
    if study.task.kind == "segmentation":
        intensities = ", and the grey values of what is outlined" if study.task.modality == "CT" else ""
        fingerprint = f"size and spacing of your images, share of each class{intensities}"
        yield "", f"when the planners ask: {fingerprint}; as counts over all your images"
    without = f" without its layers of kind {' and '.join(study.local_layers)}" if study.local_layers else ""
    codec = study.compression.codec
    compressed = "" if codec == "none" else f", compressed by {codec} ({ADDITIONS[codec]})"
    extras = f", and {known.sends}" if known and known.sends else "" if known else ", and what that algorithm adds"
    model = "part of the model" if study.training.tunes_part else "model"
    yield "", f"each round: the trained {model}{without}{compressed}{extras}"
    loss = "the loss, " if may_tell_losses(study, policy) else ""
    yield "", f"and with it the exact numbers of training patients, samples and steps, {loss}and the seconds it took"
    yield from (("", what) for what in _describe_scores(policy))
    yield "", _describe_min_count(policy)


def _describe_scores(policy: Policy) -> Iterator[str]:
    where = "over your validation patients, and at the end over your test patients"
    if policy.scores == "none":
        yield "no scores: your policy keeps them here ('scores')"
        return
    yield f"scores {where}, as counts and sums" + ("" if policy.scores == "exact" else ", rounded")
    if policy.scores == "headline":
        yield "of a round only the score by which the server compares models; of the test all of them"


def _describe_min_count(policy: Policy) -> str:
    if not policy.min_count:
        return "numbers over few patients leave too, down to one: 'min-count' of your policy is 0"
    return f"numbers over fewer than {policy.min_count} patients do not leave ('min-count' of your policy)"


def _describe_retained(study: Study, policy: Policy) -> Iterator[SummaryLine]:
    yield "stays", "images, labels, names, pseudonyms, file names, dates, all texts of headers; an error leaves as a code only"
    yield "", "prepared copies of the images, in the folder 'resources.store' of your site.toml or in your account's cache"
    if study.has_personal_models:
        yield "", "a model of your own is stored on your disk"
    yield from (("", what) for what in _describe_kept(study, policy))


def _describe_kept(study: Study, policy: Policy) -> Iterator[str]:
    """Yield what becomes of the model that the study chooses, which each hospital gets with the test."""
    if "federated" not in study.arms:
        return
    shared = [] if study.local_layers else ["the chosen model"]  # which is not whole without the layers that stay here
    own = ["your own model"] if study.has_personal_models else []
    if policy.keep_models:
        yield f"at the end, {join_words(shared + own)}, with the results on your test patients: medfl site models"
        yield "that stays after the study and when you withdraw this approval, until you remove it: medfl site models --remove"
    else:
        yield "the chosen model is not kept for you: 'keep-models' of your policy is false"
    yield "the other hospitals get the chosen model too, and may keep it: it was trained on your images as well"


def _describe_privacy(study: Study) -> Iterator[SummaryLine]:
    yield (
        "privacy",
        "no secure aggregation and no differential privacy: until a study has one of them, the server sees the model that your "
        "images trained, and an expert may learn something about single patients from it",
    )
    min_patients = study.strategy.min_patients
    patients = f" that have {min_patients} or more training patients together" if min_patients else ""
    if not (study.strategy.quorum or study.strategy.sites):
        yield "quorum", f"a round counts when all hospitals that are asked answer; the study does not say how many{patients}"
    elif study.min_quorum == 1:
        yield "quorum", f"a round counts even when yours is the only hospital{patients}: the new model is then yours alone"
    else:
        yield "quorum", f"a round counts with {study.min_quorum} or more hospitals{patients}"
