"""Ids that name nobody: placeholders, and what an anonymiser gave to everybody."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import lru_cache

from medfl.data.findings import Finding
from medfl.data.patient_ids import split_issuer
from medfl.data.spelling import is_blank

_MIN_SHARED_EXAMS = 10  # examinations with one id, from which on they are many for one person
_MIN_CONSTANT_EXAMS = 3  # likewise, when there are no others
_NEARLY_ALL = 0.9  # share of the examinations
# what programs and people write where they know no id, or must not tell it; beside what is a blank everywhere
_PLACEHOLDER = re.compile(
    r"(nil|n ?a|not (available|applicable|known)|no ?(id|name)|x{3,}|"
    r"anon(ym(e|ous|i[sz]ed|isiert|is[ée]e?)?)?|"
    r"de ?identified|unknown|unbekannt|inconnu|desconocid[oa]|sconosciut[oa]|undefined|missing|removed|redacted|unnamed)( \1)*",
    re.IGNORECASE,
)
_ERROR = re.compile(r"#[\w/. ]+[!?]|#n/?[av]", re.IGNORECASE)  # of a spreadsheet: #REF!, #NAME?, #NV


@lru_cache(maxsize=4096)  # every slice of a series asks
def is_placeholder(patient: str) -> bool:
    """Return whether an id names nobody: strangers who share it are not one patient.

    Parameters
    ----------
    patient : str
        Id of an index, name of a folder, or PatientID with its issuer.

    Examples
    --------
    >>> is_placeholder("Anonymous^^"), is_placeholder("<NA>"), is_placeholder("anna")
    (True, True, False)
    """
    text = split_issuer(patient)[0].strip()
    words = " ".join(re.findall(r"[^\W_]+", text))
    return is_blank(words) or bool(_PLACEHOLDER.fullmatch(words) or _ERROR.fullmatch(text))


def find_constant_ids(exams: Mapping[str, set[str]]) -> set[str]:
    """Return the ids that all examinations share, or nearly all of many: an anonymiser must have set them.

    Parameters
    ----------
    exams : mapping of str to set of str
        Examinations of each id.
    """
    total = len(set[str]().union(*exams.values()))
    return {
        patient
        for patient, theirs in exams.items()
        if (len(theirs) >= _MIN_CONSTANT_EXAMS and len(theirs) == total)
        or (len(theirs) >= _MIN_SHARED_EXAMS and len(theirs) > _NEARLY_ALL * total)
    }


def frequent_id_warnings(studies: Mapping[str, set[str]], constant: Collection[str]) -> list[Finding]:
    """Return a warning about an id that is on most of many studies, and used: it is one person's, or an anonymiser's.

    Parameters
    ----------
    studies : mapping of str to set of str
        StudyInstanceUIDs of each id.
    constant : collection of str
        Ids that are not used.
    """
    total = len(set[str]().union(*studies.values()))
    counts = [len(own) for patient, own in studies.items() if patient not in constant]
    most = max((count for count in counts if count >= _MIN_SHARED_EXAMS and 2 * count > total), default=0)
    if not most:
        return []
    what = f"{most} of {total} studies share one PatientID in their headers, so they count as one patient."
    fix = "If an anonymiser gave it to several people, export with an id for each."
    return [Finding.warning("ID-CONSTANT", what, fix)]
