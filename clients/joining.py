"""The reply to joining: what a site reports of itself before any training.

`medfl data check` shows it to the hospital with the same functions, so what it reads there is what would be sent.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from hashlib import sha256

from medfl.data.findings import Finding
from medfl.data.store.prepare import count_exclusions
from medfl.data.store.prepared_data import PreparedData
from medfl.errors import DataError
from medfl.messages import counts, records
from medfl.messages.records import Metrics
from medfl.privacy import policy_checks
from medfl.site import Site
from medfl.study import Study

SPLITS = ("train", "validation", "test")
WARNINGS, PATIENT_IDS = "warnings", "patient-ids"


def check_min_patients(prepared: PreparedData, site: Site) -> None:
    """Raise when a site has so few training patients that their number, the weight of its replies, may not leave.

    Raises
    ------
    DataError
        ``SITE-BELOW-MIN-COUNT``.
    PolicyError
        ``POLICY-PATIENTS``, when they are fewer than `policy.min-patients`.
    """
    patients = prepared.count_patients("train")
    policy_checks.check_patients(site.policy, patients)
    if 0 < patients < site.policy.min_count:
        raise DataError(
            "SITE-BELOW-MIN-COUNT",
            f"this site has {patients} training patients, and its policy lets no count below {site.policy.min_count} leave.",
            "Add patients, or lower 'min-count' in the policy.",
        )


def patient_counts(prepared: PreparedData, site: Site) -> Metrics:
    """Return the numbers of patients and cases of each split; the policy turns small ones into "fewer than k".

    Where the patients of a split are hidden, so are its cases, which patients with several images each would count exactly:
    they are fewer than as many as k patients have elsewhere.
    """
    k = site.policy.min_count
    patients = {split: prepared.count_patients(split) for split in SPLITS}
    cases = {split: len(prepared.get_split(split)) for split in SPLITS}
    shown = [split for split in SPLITS if counts.suppress_count(patients[split], k) > 0]
    images = math.ceil(sum(cases[split] for split in shown) / max(sum(patients[split] for split in shown), 1)) or 1
    told: Metrics = {f"join.{split}-patients": counts.suppress_count(patients[split], k) for split in SPLITS}
    for split in SPLITS:
        is_hidden = 0 < patients[split] < k
        told[f"join.{split}-cases"] = -_bound(cases[split], k * images) if is_hidden else cases[split]
    return told


def site_info(prepared: PreparedData, site: Site) -> dict[str, str]:
    """Return exclusions and warnings by code, the annotated classes, and whether patients have ids."""
    return {
        records.EXCLUDED: count_findings(prepared.findings, site, "error"),
        WARNINGS: count_findings(prepared.findings, site, "warning", _max_count(prepared, site)),
        PATIENT_IDS: "yes" if prepared.patient_ids else "no",
        records.ANNOTATED: ",".join(map(str, prepared.annotated)),
    }


def simulation_info(prepared: PreparedData, study: Study) -> dict[str, str]:
    """Return what only a simulated site reports: how many cases it left out and uses, its classes, and a hash of its cases.

    Where some hospitals are external, it reports a hash of each image too, so that none is at a hospital that trains as well.
    """
    images = sorted({sha256(case.content[0].encode()).hexdigest()[:32] for case in prepared.cases if case.content})
    return {
        records.LEFT_OUT: str(sum(count_exclusions(prepared).values())),
        records.USABLE: str(len(prepared.cases)),
        records.PRESENT: ",".join(map(str, prepared.present)),
        records.DATA_DIGEST: prepared.digest,
        **({records.IMAGES: ",".join(images)} if study.evaluation.external else {}),
    }


def count_findings(findings: Iterable[Finding], site: Site, level: str, max_count: int | None = None) -> str:
    """Return the findings of a level as counts by code, in the notation of `counts`, each at most `max_count`."""
    found = Counter(finding.code for finding in findings if finding.level == level)
    bounded = {code: count if max_count is None else min(count, max_count) for code, count in found.items()}
    return counts.to_text({code: counts.suppress_count(count, site.policy.min_count) for code, count in bounded.items()})


def _bound(count: int, limit: int) -> int:
    """Return the first number above a count, of a limit and its doubles."""
    return limit if count < limit else _bound(count, 2 * limit)


def _max_count(prepared: PreparedData, site: Site) -> int | None:
    """Return the cases of all splits with visible counts, where another is hidden: a warning in every case would reveal it."""
    numbers = [(len(prepared.get_split(split)), prepared.count_patients(split)) for split in SPLITS]
    visible = [
        cases
        for cases, patients in numbers
        if min(counts.suppress_count(n, site.policy.min_count) for n in (cases, patients)) >= 0
    ]
    return None if len(visible) == len(numbers) else sum(visible)
