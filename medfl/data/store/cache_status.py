"""Status of the prepared data: whether it matches the files and the study as they are now. Nothing is prepared."""

from __future__ import annotations

from dataclasses import dataclass

from medfl.data.cohort import read_cohort
from medfl.data.store.cache_folder import ABOUT_FILE
from medfl.data.store.cache_key import compute_cache_key, site_root
from medfl.data.store.case_cache import CaseCache
from medfl.errors import DataError
from medfl.site import Site
from medfl.study import Study
from medfl.system.files import read_json
from medfl.system.text import plural

_HASH_DIGITS = 6  # digits of a plan's hash
_MINUTE = 60.0


@dataclass(frozen=True)
class CacheStatus:
    """State of the prepared data compared with the files and the study.

    Parameters
    ----------
    current, changed, missing : int
        Cases whose prepared form is up to date (or that are known to be left out), whose files or reading have changed since,
        and that were never prepared.
    plan, other_plan : str
        First digits of the hash of the plan, and of the plan by which the study was prepared before; empty when it was not.
    seconds : float
        Time that one case takes; 0 when none was prepared yet.
    """

    current: int
    changed: int
    missing: int
    plan: str
    other_plan: str
    seconds: float

    def require_current(self) -> None:
        """Refuse data that is not up to date.

        Raises
        ------
        DataError
            ``STORE-STALE``.
        """
        todo = self.changed + self.missing
        if not todo:
            return
        reasons = []
        elsewhere = self.other_plan not in ("", self.plan)
        if elsewhere:
            reasons.append(f"the prepared data was made with another plan ({self.other_plan} instead of {self.plan}).")
        if self.changed:
            reasons.append(f"The source files of {self.changed} case(s) have changed since they were prepared.")
        if self.missing and not elsewhere:
            reasons.append(f"{self.missing} case(s) are not prepared yet.")
        minutes = round(todo * self.seconds / _MINUTE)
        takes = f" (about {plural(minutes, 'minute')} for {plural(todo, 'case')})" if minutes else ""
        raise DataError("STORE-STALE", " ".join(reasons), f"Run 'medfl data prepare' again{takes}.")


def get_cache_status(site: Site, study: Study) -> CacheStatus:
    """Compare the prepared data of a site with its files and with the study. Files that have changed are read, no pixel is.

    Parameters
    ----------
    site : Site
        The hospital.
    study : Study
        Names the task and how images are preprocessed.

    Raises
    ------
    DataError
        What the reading of the data folder as a whole raises.
    """
    cohort = read_cohort(site, study)
    cache = CaseCache(site, study)
    names = cache.cache_folder.case_names()
    found = {case.name: cache.find(case) is not None for case in cohort.cases}
    changed = sum(not current and name in names for name, current in found.items())
    current = sum(found.values())
    other, seconds = ("", 0.0) if current or changed else _find_previous(site, study)
    about = read_json(cache.cache_folder.path / ABOUT_FILE) or {}
    cache.digests.save()
    missing = len(found) - current - changed
    plan = compute_cache_key(site, study)[:_HASH_DIGITS]
    return CacheStatus(current, changed, missing, plan, other, float(about.get("seconds", seconds)))


def _find_previous(site: Site, study: Study) -> tuple[str, float]:
    """Return the plan by which the same study was prepared last, and the seconds of a case."""
    used = [
        (folder.stat().st_mtime, read_json(folder / ABOUT_FILE) or {})
        for folder in site_root(site).iterdir()
        if folder.is_dir()
    ]
    same = [(last_use, about) for last_use, about in used if about.get("study") == study.name]
    if not same:
        return "", 0.0
    about = max(same, key=lambda pair: pair[0])[1]
    return str(about["plan"])[:_HASH_DIGITS], float(about.get("seconds", 0.0))
