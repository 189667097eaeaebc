"""Patients apart over studies: nobody is tested whom a start was trained on, by the site's own record of earlier studies."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection

from medfl.errors import PolicyError
from medfl.privacy.patient_sets import Splits, patients_of
from medfl.study import Study
from medfl.system.text import plural

_log = logging.getLogger("medfl.site")


def _log_warning(sentence: str) -> None:
    _log.warning("[START-PATIENTS] %s", sentence)


def keep_apart(study: Study, splits: Splits, trained: Collection[str], warn: Callable[[str], None] = _log_warning) -> Splits:
    """Return the splits of a site in which no test patient was trained on by what the study begins with.

    Parameters
    ----------
    study : Study
        Says in ``start.patients`` whether such patients are moved into training, or the site takes no part.
    splits : mapping of str to set of str
        Members (`medfl.privacy.patient_sets.write_member`) of each split.
    trained : collection of str
        Pseudonyms of the site's training patients in the studies of ``start.studies``.
    warn : callable
        Called with a sentence where patients are moved; it goes into the log unless given.

    Raises
    ------
    PolicyError
        ``START-PATIENTS`` when there are some and the study refuses them, or nobody would be left to test. It depends on the
        patients, and is for the site's own log alone.
    """
    test = splits.get("test", frozenset())
    seen = frozenset(member for member in test if patients_of([member]) & set(trained))
    if not seen:
        return splits
    count = len(patients_of(seen))
    what = f"{plural(count, 'patient')} would be tested on whom the start of this study was trained here."
    if study.start.patients == "refuse":
        fix = 'Planners keep the splits and the split-seed of the earlier study, or write patients = "move" in the table start.'
        raise PolicyError("START-PATIENTS", what, fix)
    if seen == test:
        raise PolicyError("START-PATIENTS", f"{what} They are all test patients.", "Add patients, or decline the study.")
    warn(f"{what} Moved into training.")
    return {**splits, "test": test - seen, "train": splits.get("train", frozenset()) | seen}
