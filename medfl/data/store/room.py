"""Finding or making one prepared case after the other."""

from __future__ import annotations

import time
from dataclasses import dataclass

import medfl
from medfl.data.cases import Case, Finding, Source
from medfl.data.classes import looked_for
from medfl.data.load import load_case
from medfl.data.quiet import quiet
from medfl.data.store.digests import Digests
from medfl.data.store.files import private_folder
from medfl.data.store.form import prepared_form
from medfl.data.store.plan import digest_of, plan_digest, site_root
from medfl.data.store.shelf import Shelf
from medfl.data.store.stored import Meta, OnDiskCase
from medfl.data.store.versions import of_reading
from medfl.errors import DataError
from medfl.site import Site
from medfl.study import Study

_PASSING = ("-CODEC", "-READ", "-EXTRA")  # ends of codes of refusals that may pass: a library is installed, a disk comes back
_EVERY = 30.0  # seconds between two writings of the caches: a killed process loses no more


@dataclass(frozen=True)
class Outcome:
    """What became of one case.

    Parameters
    ----------
    meta : dict, optional
        Content of the ``meta.json`` of the prepared case; None when it was left out.
    key : str
        Of the case in the store; empty when its files could not be read.
    findings : tuple of Finding
        The reason, or warnings.
    seconds : float
        That making it took; 0 when it was found.
    """

    meta: Meta | None
    key: str
    findings: tuple[Finding, ...]
    seconds: float = 0.0


class Room:
    """The prepared cases of a site for a study, and what it takes to make them.

    Parameters
    ----------
    site : Site
        The hospital.
    study : Study
        What is learnt and how images are preprocessed.

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
        self._plan = plan_digest(site, study)
        own = site_root(site)
        for folder in (own.parent, own):
            private_folder(folder)
        self.shelf = Shelf(own / self._plan[:16])
        self.digests = Digests(own / "digests.json", site.secret())
        self._saved = time.monotonic()
        self._made: list[float] = []

    def ensure(self, case: Case, remaining: int = 1) -> Outcome:
        """Find a case or make it.

        Parameters
        ----------
        case : Case
            As the cohort has it.
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
        key, started = self.key(case), time.monotonic()
        try:
            with quiet():
                looked = looked_for(case.annotated, self._study, self._site)
                arrays, facts = prepared_form(lambda: load_case(case, self._study, self._site), self._study, looked)
            if self.key(case) != key:
                raise RuntimeError("the source changed while it was read")
        except DataError as error:
            finding = Finding.from_error(error, case.name)
            if not finding.code.endswith(_PASSING):
                self.shelf.refuse(case.name, key, medfl.__version__, finding)
            return Outcome(None, key, (finding,))
        except Exception as error:  # a library's own: its text may hold a path or a name, and it must not stop the rest
            return Outcome(None, key, (_unreadable(case, error),))
        meta = self.shelf.write(case.name, key, arrays, facts, remaining)
        return Outcome(meta, key, _warnings(case, meta), time.monotonic() - started)

    def find(self, case: Case) -> Outcome | None:
        """Return the stored case, or why this very content was refused before, or nothing when neither is known."""
        try:
            key = self.key(case)
        except OSError as error:
            return Outcome(None, "", (_unreadable(case, error),))
        meta = self.shelf.find(case.name, key)
        if meta is not None:
            return Outcome(meta, key, _warnings(case, meta))
        refused = self.shelf.refusal(case.name, key, medfl.__version__)
        return Outcome(None, key, (refused,)) if refused else None

    def key(self, case: Case) -> str:
        """Return the hash of all that decides what the prepared form of a case is.

        Raises
        ------
        OSError
            When a file of it can not be read.
        """
        label = self._content(case.label) if isinstance(case.label, Source) else case.label
        parts = {"plan": self._plan, "image": self._content(case.image), "label": label, "annotated": case.annotated}
        return digest_of(parts)

    def stored(self, case: Case, outcome: Outcome) -> OnDiskCase | None:
        """Return the case as training sees it."""
        if outcome.meta is None:
            return None
        place = self.shelf.place(case.name, outcome.key)
        return OnDiskCase(place, outcome.meta, case.name, case.patient, case.split)

    def noted(self, outcome: Outcome) -> None:
        """Take note of a case that came; now and then, what makes the next start fast is written."""
        self._made += [outcome.seconds] if outcome.seconds else []
        if time.monotonic() - self._saved > _EVERY:
            self.save()

    def save(self) -> None:
        """Keep what makes the next start fast."""
        if self._made or not self.shelf.described:
            seconds = {"seconds": round(sum(self._made) / len(self._made), 2)} if self._made else {}
            self.shelf.describe({"study": self._study.name, "plan": self._plan, **seconds})
        self.shelf.save()
        self.digests.save()
        self._saved = time.monotonic()

    def _content(self, source: Source) -> list[object]:
        digest = self.digests.of(*source.paths)
        return [source.kind, digest, source.select, source.names, of_reading(source.kind)]


def _warnings(case: Case, meta: Meta) -> tuple[Finding, ...]:
    return tuple(Finding(code, case.name, what, fix, "warning") for code, what, fix in meta["warnings"])


def _unreadable(case: Case, error: Exception) -> Finding:
    what = f"the image or its label could not be read ({type(error).__name__})."
    fix = "Check that the files are complete and can be opened with another program, and export them again."
    return Finding("CASE-UNREADABLE", case.name, what, fix)
