"""What tests of DICOM exports share: changes of headers, and counts of findings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from pydicom.dataset import Dataset

from medfl.data.cases import Cohort


def errors(cohort: Cohort) -> Counter[str]:
    return Counter(finding.code for finding in cohort.findings if finding.level == "error")


def warnings(cohort: Cohort) -> Counter[str]:
    return Counter(finding.code for finding in cohort.findings if finding.level == "warning")


def put(**values: Any) -> Callable[[int, Dataset], None]:
    """Return a change that sets attributes; None deletes one."""

    def change(k: int, ds: Dataset) -> None:
        for keyword, value in values.items():
            setattr(ds, keyword, value)
            if value is None:
                delattr(ds, keyword)

    return change
