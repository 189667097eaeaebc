"""Disclosure: what a server would see of a checked site, made by the functions that send it."""

from __future__ import annotations

from dataclasses import dataclass

from medfl.clients import joining
from medfl.data.quality.facts import SiteCheck
from medfl.errors import DataError, PolicyError, safe_reason
from medfl.messages import counts, records
from medfl.messages.records import Metrics
from medfl.metrics import empty_metrics
from medfl.privacy import policy_checks
from medfl.site import Site
from medfl.study import Study

_TRAIN_KEYS = (
    records.TRAIN_PATIENTS,
    records.TRAIN_SAMPLES,
    records.TRAIN_STEPS,
    records.TRAIN_LOSS,
    records.TRAIN_SECONDS,
)


@dataclass(frozen=True)
class Disclosure:
    """Data that leaves a site when it joins a study.

    Parameters
    ----------
    declined : str
        What the server reads instead if the site declines; empty if it would join.
    why : str
        The full message for that, which stays at the site.
    numbers : dict
        The counts of the answer to `records.JOIN`, as sent; those below 0 mean "more than none and fewer than k".
    excluded, warnings : dict of str to int
        Counts by code, as `medfl.messages.counts` has them.
    patient_ids : str
        ``"yes"`` or ``"no"``.
    metrics : tuple of str
        Names of the metrics of each round; empty without a study, as they depend on its classes.
    annotated : tuple of str
        Classes that were looked for at the site, if they are not all of the study's.
    """

    declined: str
    why: str
    numbers: Metrics
    excluded: dict[str, int]
    warnings: dict[str, int]
    patient_ids: str
    metrics: tuple[str, ...]
    annotated: tuple[str, ...] = ()


def preview_disclosure(check: SiteCheck, study: Study | None, site: Site) -> Disclosure:
    """Return what the server would see of a site that joined now.

    Parameters
    ----------
    check : SiteCheck
        What was found.
    study : Study or None
        The study of the check, or the one inferred from the data.
    site : Site
        Site whose policy decides what is sent.
    """
    prepared = check.to_prepared()
    declined = why = ""
    try:
        if check.refusal:
            raise DataError(check.refusal.code, check.refusal.what, check.refusal.fix)
        joining.check_min_patients(prepared, site)
        if study and check.study:
            policy_checks.check_study(study, site.policy)
    except (DataError, PolicyError) as error:
        declined, why = safe_reason(error), str(error)
    info = joining.site_info(prepared, site)
    return Disclosure(
        declined=declined,
        why=why,
        numbers=policy_checks.redact(joining.patient_counts(prepared, site), site.policy),
        excluded=counts.from_text(info[records.EXCLUDED]),
        warnings=counts.from_text(info[joining.WARNINGS]),
        patient_ids=info[joining.PATIENT_IDS],
        metrics=tuple(sorted({*_TRAIN_KEYS, *empty_metrics(study)})) if study and check.study else (),
        annotated=tuple(check.task.classes[value] for value in prepared.annotated) if check.task else (),
    )
