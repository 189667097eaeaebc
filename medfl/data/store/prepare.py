"""From a hospital's own files to prepared cases: what is in the store is reused, the rest is made, the bad is left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

import medfl
from medfl.data.cases import Case, Finding, Source
from medfl.data.cohort import missing_classes, read_cohort
from medfl.data.load import load_case
from medfl.data.quiet import quiet
from medfl.data.splits import assign
from medfl.data.store.digests import Digests
from medfl.data.store.shelf import VERSION, Shelf, default_root, digest_of, private_folder
from medfl.data.store.stored import Array, Meta, OnDiskCase, Prepared, StoredCase
from medfl.data.volume import Volume
from medfl.errors import DataError
from medfl.site import Site
from medfl.study import Study

Progress = Callable[[int, int], None]  # cases done, cases in all

_POSITIONS = 10000  # of voxels remembered for each class
_PASSING = ("-CODEC", "-READ")  # ends of codes of refusals that may pass: a decoder is installed, a disk comes back
_NOTHING_SENT = "Training does not start; nothing was sent."


def store_root(site: Site) -> Path:
    """Return the folder of all prepared data: the site's own choice, or ``MEDFL_STORE``, or the user's cache."""
    chosen = site.resources.store
    return site.folder / Path(chosen).expanduser() if chosen else default_root()


def prepare(site: Site, study: Study, progress: Progress | None = None) -> Prepared:
    """Prepare all cases of a site for a study, and refuse when the site's policy is not met.

    Parameters
    ----------
    site : Site
        The hospital.
    study : Study
        What is learnt and how images are preprocessed.
    progress : callable, optional
        Called with (cases done, cases in all) after each case.

    Returns
    -------
    Prepared
        The usable cases; their arrays are mapped when they are looked at.

    Raises
    ------
    DataError
        ``SITE-EMPTY``, ``SITE-EXCLUDED`` or ``SITE-TOO-SMALL`` by the policy of the site, and what the reading of the data
        folder as a whole raises.
    DiskFullError
        ``DISK-FULL`` when the store has no room.
    """
    prepared = prepare_cases(site, study, progress)
    check_policy(site, prepared)
    return prepared


def prepare_cases(site: Site, study: Study, progress: Progress | None = None) -> Prepared:
    """Prepare all cases of a site, whatever its policy says: for a check that shows everything that is wrong.

    Parameters and errors are those of `prepare`, without those of the policy.
    """
    cohort = read_cohort(site, study)
    splits = assign(cohort.cases, study)  # before any case is read: a file that turns bad must not move other patients
    room = _Room(site, study)
    cases: list[StoredCase] = []
    findings = list(cohort.findings)
    try:
        for done, case in enumerate(cohort.cases, start=1):
            stored, found = room.ensure(replace(case, split=splits[case.name]), len(cohort.cases) - done + 1)  # type: ignore[arg-type]
            cases += [stored] if stored else []
            findings += found
            if progress:
                progress(done, len(cohort.cases))
    finally:
        room.save()
    if cases and study.task.kind == "segmentation":
        findings += missing_classes(room.present, study)
    return Prepared(site.name, tuple(cases), tuple(findings), cohort.patient_ids)


def check_policy(site: Site, prepared: Prepared) -> None:
    """Raise when a site has too few usable cases, or had to leave out too many, by its own policy.

    Raises
    ------
    DataError
        ``SITE-EMPTY``, ``SITE-EXCLUDED`` or ``SITE-TOO-SMALL``.
    """
    reasons = Counter(finding.code for finding in prepared.findings if finding.level == "error")
    excluded = len({finding.case for finding in prepared.findings if finding.level == "error" and finding.case})
    listing = ", ".join(f"{count} {code}" for code, count in sorted(reasons.items()))
    because = f" (excluded: {listing})" if listing else ""
    if not prepared.cases and not excluded:
        what = f"no case was found in the data of site {prepared.site}{because}."
        raise DataError("SITE-EMPTY", what, f"Check data.root, data.layout and data.where in the site.toml. {_NOTHING_SENT}")
    total = len(prepared.cases) + excluded
    if excluded > site.policy.max_excluded * total:
        share, allowed = f"{excluded / total:.0%}", f"{site.policy.max_excluded:.0%}"
        what = f"{excluded} of {total} cases had to be left out ({share}), the site allows {allowed}{because}."
        raise DataError("SITE-EXCLUDED", what, f"Repair them, or raise policy.max-excluded in the site.toml. {_NOTHING_SENT}")
    training = len(prepared.split("train"))
    if training < site.policy.min_cases:
        what = f"{training} usable training cases, the site asks for at least {site.policy.min_cases}{because}."
        raise DataError("SITE-TOO-SMALL", what, f"Add cases, or lower policy.min-cases in the site.toml. {_NOTHING_SENT}")


class _Room:
    """What it takes to find or make one case after the other."""

    def __init__(self, site: Site, study: Study) -> None:
        self._site, self._study = site, study
        self._plan = digest_of(_plan(site, study))
        root = store_root(site)
        own = root / digest_of(site.name)[:12]
        for folder in (root, own):
            private_folder(folder)
        self._shelf = Shelf(own / self._plan[:16])
        self._digests = Digests(own / "digests.json", site.secret())
        self.present: set[int] = set()  # label values seen in the masks

    def ensure(self, case: Case, remaining: int) -> tuple[StoredCase | None, list[Finding]]:
        """Return the stored case and warnings about it, or nothing and the reason."""
        try:
            key = self._key(case)
        except OSError as error:
            return None, [_unreadable(case, error)]
        meta = self._shelf.find(case.name, key)
        if meta is None:
            refused = self._shelf.refusal(case.name, key, medfl.__version__)
            if refused:
                return None, [refused]
            try:
                arrays, facts = self._make(case, key)
            except DataError as error:
                finding = Finding.from_error(error, case.name)
                if not finding.code.endswith(_PASSING):
                    self._shelf.refuse(case.name, key, medfl.__version__, finding)
                return None, [finding]
            except Exception as error:  # a library's own: its text may hold a path or a name, and it must not stop the rest
                return None, [_unreadable(case, error)]
            meta = self._shelf.write(case.name, key, arrays, facts, remaining)
        self.present |= set(meta["present"])
        found = [Finding(code, case.name, what, fix, "warning") for code, what, fix in meta["warnings"]]
        return OnDiskCase(self._shelf.place(case.name, key), meta, case.name, case.patient, case.split), found

    def save(self) -> None:
        """Keep what makes the next start fast."""
        self._shelf.save()
        self._digests.save()

    def _key(self, case: Case) -> str:
        label = self._content(case.label) if isinstance(case.label, Source) else case.label
        return digest_of({"plan": self._plan, "image": self._content(case.image), "label": label})

    def _content(self, source: Source) -> list[str]:
        return [source.kind, *map(self._digests.of, source.paths)]

    def _make(self, case: Case, key: str) -> tuple[dict[str, Array], Meta]:
        with quiet():
            made = _prepared_form(*load_case(case, self._study, self._site), self._study)
        if self._key(case) != key:
            raise RuntimeError("the source changed while it was read")
        return made


def _plan(site: Site, study: Study) -> object:
    """Everything but the source files that decides what a prepared case looks like."""
    return {
        "store": VERSION,
        "task": study.task.model_dump(mode="json"),
        "preprocessing": study.preprocessing.model_dump(mode="json"),
        "classes": site.classes,
        "label-geometry": site.data.label_geometry,
    }


def _prepared_form(volume: Volume, label: Array | int, study: Study) -> tuple[dict[str, Array], Meta]:
    from medfl.data.preprocess import orient, preprocess  # imports MONAI: seconds that a second start must not pay

    mask = None if isinstance(label, int) else label
    notes = [[warning.code, warning.what, warning.fix] for warning in volume.warnings]
    volume, mask = orient(volume, mask, study)
    done, done_mask = preprocess(volume, mask, study)
    arrays: dict[str, Array] = {"image": done.array}
    facts: Meta = {
        "label": label if isinstance(label, int) else None,
        "spacing": done.spacing,
        "affine": done.affine.tolist(),
        "foreground": [],
        "present": [],
        "reference": None,
        "warnings": notes,
    }
    if mask is not None and done_mask is not None:
        arrays["label"] = done_mask
        facts["foreground"] = list(range(1, len(study.task.classes)))
        arrays |= {f"fg_{index}": _positions(done_mask, index) for index in facts["foreground"]}
        facts["present"] = np.unique(mask).tolist()
        changed = done.shape != volume.shape or not np.allclose(done.affine, volume.affine, rtol=0, atol=1e-6)
        if study.task.dimension == 3 and changed:
            arrays["reference"] = mask
            facts["reference"] = {"affine": volume.affine.tolist(), "spacing": volume.spacing}
    return arrays, facts


def _positions(mask: Array, index: int) -> Array:
    """Return at most `_POSITIONS` voxel positions (n, D) of a class, the same ones every time."""
    flat = np.flatnonzero(mask == index)
    if len(flat) > _POSITIONS:
        flat = np.sort(np.random.default_rng(index).choice(flat, _POSITIONS, replace=False))
    kind = np.int16 if max(mask.shape) <= np.iinfo(np.int16).max else np.int32
    return np.stack(np.unravel_index(flat, mask.shape), axis=1).astype(kind)


def _unreadable(case: Case, error: Exception) -> Finding:
    what = f"the image or its label could not be read ({type(error).__name__})."
    fix = "Check that the files are complete and can be opened with another program, and export them again."
    return Finding("CASE-UNREADABLE", case.name, what, fix)
