"""Cache of prepared cases: each is found or made, one after the other."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial

import medfl
from medfl.data.cases import Case, Source
from medfl.data.classes import annotated_classes
from medfl.data.findings import Finding
from medfl.data.library_output import silence_libraries
from medfl.data.load import load_case, unreadable_finding
from medfl.data.store.cache_folder import CacheFolder
from medfl.data.store.cache_key import compute_cache_key, hash_values, site_root
from medfl.data.store.case_arrays import build_case_arrays
from medfl.data.store.digests import DigestCache
from medfl.data.store.mapped_arrays import Meta, damaged_error
from medfl.data.store.prepared_data import OnDiskCase
from medfl.data.store.private_folder import make_private_folder
from medfl.data.store.versions import reader_versions
from medfl.errors import DataError
from medfl.site import Site
from medfl.study import Study

# ends of codes of refusals that may pass: a library is installed, a disk comes back, other programs end
_TRANSIENT_CODES = ("-CODEC", "-READ", "-EXTRA", "-MEMORY")
_SAVE_INTERVAL = 30.0  # seconds between two writings of the caches: a killed process loses no more


@dataclass(frozen=True)
class Outcome:
    """Result of finding or preparing a case: its arrays in the store, or why it was left out.

    Parameters
    ----------
    meta : dict, optional
        Content of the ``meta.json`` of the prepared case; None when it was left out.
    key : str
        Key of the case in the store; empty when its files could not be read.
    findings : tuple of Finding
        The reason, or warnings.
    seconds : float
        Time that making it took; 0 when it was found.
    """

    meta: Meta | None
    key: str
    findings: tuple[Finding, ...]
    seconds: float = 0.0


class CaseCache:
    """The prepared cases of a site for a study, and what it takes to make them.

    Parameters
    ----------
    site : Site
        The hospital.
    study : Study
        Names the task and how images are preprocessed.

    Raises
    ------
    DataError
        ``STORE-UNWRITABLE``; ``SITE-SECRET``; ``SITE-EXTRA`` when the study needs a library that is not installed here.
    """

    def __init__(self, site: Site, study: Study) -> None:
        if study.preprocessing.bias_correction == "n4":
            from medfl.data.preprocess.bias_field import require_bias_correction

            require_bias_correction()  # once, and not as a reason to leave out each case
        self._site, self._study = site, study
        self._cache_key = compute_cache_key(site, study)
        site_folder = site_root(site)
        for folder in (site_folder.parent, site_folder):
            make_private_folder(folder)
        self.cache_folder = CacheFolder(site_folder / self._cache_key[:16])
        self.digests = DigestCache(site_folder / "digests.json", site.secret())
        self._saved = time.monotonic()
        self._durations: list[float] = []

    def get_or_prepare(self, case: Case, remaining: int = 1) -> Outcome:
        """Find a case or make it.

        Parameters
        ----------
        case : Case
            Case of the cohort.
        remaining : int
            Cases still to come with this one, for the message when the disk is full.

        Raises
        ------
        DiskFullError
            ``DISK-FULL``.
        DataError
            ``STORE-UNWRITABLE``.
        """
        found = self.find(case)
        if found is not None:
            return found
        key, started = self.case_key(case), time.monotonic()
        try:
            with silence_libraries():
                annotated = annotated_classes(case.annotated, self._study, self._site)
                read = partial(load_case, case, self._study, self._site)
                arrays, facts = build_case_arrays(read, self._study, self._site, annotated, case.split_order)
            if self.case_key(case) != key:
                raise RuntimeError("the source changed while it was read")
        except DataError as error:
            finding = Finding.from_error(error, case.name)
            if not finding.code.endswith(_TRANSIENT_CODES):
                self.cache_folder.save_rejection(case.name, key, medfl.__version__, finding)
            return Outcome(None, key, (finding,))
        except Exception as error:  # an error of a library: its text may hold a path or a name, and it must not stop the rest
            return Outcome(None, key, (unreadable_finding(case.name, error),))
        meta = self.cache_folder.write(case.name, key, arrays, facts, remaining)
        return Outcome(meta, key, _warnings(case, meta), time.monotonic() - started)

    def find(self, case: Case) -> Outcome | None:
        """Return the stored case, or why this very content was refused before, or nothing when neither is known."""
        try:
            key = self.case_key(case)
        except OSError as error:
            return Outcome(None, "", (unreadable_finding(case.name, error),))
        meta = self.cache_folder.find(case.name, key)
        if meta is not None:
            return Outcome(meta, key, _warnings(case, meta))
        refused = self.cache_folder.find_rejection(case.name, key, medfl.__version__)
        return Outcome(None, key, (refused,)) if refused else None

    def case_key(self, case: Case) -> str:
        """Return the hash of all that decides what the prepared form of a case is.

        Raises
        ------
        OSError
            When a file of it cannot be read.
        """
        label = self._source_key(case.label) if isinstance(case.label, Source) else case.label
        parts = {"plan": self._cache_key, "image": self._source_key(case.image), "label": label, "annotated": case.annotated}
        if self._site.simulated and self._site.simulated.own_scanner:
            parts["patient"] = case.split_order  # the noise of a simulated scanner depends on it
        return hash_values(parts)

    def open_case(self, case: Case, outcome: Outcome) -> OnDiskCase | None:
        """Return the case as training sees it."""
        if outcome.meta is None:
            return None
        folder = self.cache_folder.case_path(case.name, outcome.key)
        light = case.without_headers()
        return OnDiskCase(light, folder, outcome.meta, lambda: self._renew(light, outcome.key))

    def _renew(self, case: Case, key: str) -> Meta:
        """Prepare a case anew that was found to be damaged while it was in use; its sources must be the same as before.

        Raises
        ------
        DataError
            ``STORE-DAMAGED`` when they are not; ``STORE-UNWRITABLE``.
        DiskFullError
            ``DISK-FULL``.
        """
        if not self.cache_folder.is_intact(case.name, key):  # or another process has been here
            self.cache_folder.discard(case.name, key)
        outcome = self.get_or_prepare(case)
        if outcome.meta is None or outcome.key != key:
            raise damaged_error()
        return outcome.meta

    def autosave(self, outcome: Outcome) -> None:
        """Take note of a case that came; now and then, what makes the next start fast is written."""
        self._durations += [outcome.seconds] if outcome.seconds else []
        if time.monotonic() - self._saved > _SAVE_INTERVAL:
            self.save()

    def save(self) -> None:
        """Keep what makes the next start fast."""
        if self._durations or not self.cache_folder.has_description:
            seconds = {"seconds": round(sum(self._durations) / len(self._durations), 2)} if self._durations else {}
            self.cache_folder.describe({"study": self._study.name, "plan": self._cache_key, **seconds})
        self.cache_folder.save()
        self.digests.save()
        self._saved = time.monotonic()

    def _source_key(self, source: Source) -> list[object]:
        digest = self.digests.get(*source.paths)
        parts = [source.kind, digest, source.select, source.names, source.volumes, source.volume_count]
        return [*parts, reader_versions(source.kind)]


def _warnings(case: Case, meta: Meta) -> tuple[Finding, ...]:
    return tuple(Finding(code, case.name, what, fix, "warning") for code, what, fix in meta["warnings"])
