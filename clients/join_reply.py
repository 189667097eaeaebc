"""What a hospital tells of itself when it joins: the numbers that a server gets to see before any training.

`medfl data check` shows them to the hospital from these same functions, so what it reads there is what is sent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from medfl.data.findings import Finding
from medfl.data.store.prepared_data import PreparedData
from medfl.errors import DataError
from medfl.messages import counts, records
from medfl.messages.records import Metrics
from medfl.privacy import policy_checks
from medfl.site import Site

SPLITS = ("train", "validation", "test")
WARNINGS, PATIENT_IDS = "warnings", "patient-ids"


def check_min_patients(prepared: PreparedData, site: Site) -> None:
    """Raise when a site has fewer training patients than it may tell: a training reply tells their number, its weight.

    Raises
    ------
    DataError
        ``SITE-BELOW-MIN-COUNT``.
    PolicyError
        ``POLICY-PATIENTS``, when they are fewer than the site asks of itself.
    """
    patients = prepared.count_patients("train")
    policy_checks.check_patients(site.policy, patients)
    if 0 < patients < site.policy.min_count:
        raise DataError(
            "SITE-BELOW-MIN-COUNT",
            f"{patients} training patients are fewer than the {site.policy.min_count} that the policy of this site asks for "
            f"before it tells a count.",
            "Add patients, or lower 'min-count' in the policy.",
        )


def patient_counts(prepared: PreparedData, site: Site) -> Metrics:
    """Return the patients and cases of each split, small counts told as "fewer than k" by the site's policy."""
    k = site.policy.min_count
    brought: Metrics = {f"join.{split}-patients": counts.suppress_count(prepared.count_patients(split), k) for split in SPLITS}
    return brought | {f"join.{split}-cases": counts.suppress_count(len(prepared.get_split(split)), k) for split in SPLITS}


def site_info(prepared: PreparedData, site: Site) -> dict[str, str]:
    """Return what was left out and what was worth a warning, by code, what was annotated, and whether patients are known."""
    return {
        records.EXCLUDED: count_findings(prepared.findings, site, "error"),
        WARNINGS: count_findings(prepared.findings, site, "warning", _max_count(prepared, site)),
        PATIENT_IDS: "yes" if prepared.patient_ids else "no",
        records.ANNOTATED: ",".join(map(str, prepared.annotated)),
    }


def count_findings(findings: Iterable[Finding], site: Site, level: str, most: int | None = None) -> str:
    """Return the findings of a level as counts by code, as `counts` writes them; none is told as more than `most`."""
    found = Counter(finding.code for finding in findings if finding.level == level)
    told = {code: count if most is None else min(count, most) for code, count in found.items()}
    return counts.to_text({code: counts.suppress_count(count, site.policy.min_count) for code, count in told.items()})


def _max_count(prepared: PreparedData, site: Site) -> int | None:
    """Return the cases of the splits that are told where another is hidden: a warning of every case would give it away."""
    numbers = [(len(prepared.get_split(split)), prepared.count_patients(split)) for split in SPLITS]
    told = [
        cases
        for cases, patients in numbers
        if min(counts.suppress_count(n, site.policy.min_count) for n in (cases, patients)) >= 0
    ]
    return None if len(told) == len(numbers) else sum(told)
