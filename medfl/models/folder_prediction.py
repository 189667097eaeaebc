"""Prediction of all images of a data folder, case by case, so that it can stop at any time and go on later."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from medfl.clients.tasks.inference import group_cases
from medfl.clients.training.devices import choose_device
from medfl.data.cases import Case, Cohort, Source
from medfl.data.data_folder import DataFolder
from medfl.data.findings import Finding
from medfl.data.images_to_predict import find_images_to_predict
from medfl.data.index.case_records import reading_results, save_reading_results
from medfl.data.mask_formats import require_format
from medfl.data.original_names import OriginalName, find_original_names
from medfl.data.predictions import ModelOrigin
from medfl.data.store.case_cache import CaseCache, Outcome
from medfl.data.store.prepare import patch_size_warnings
from medfl.data.store.prepared_data import PreparedCase
from medfl.data.volume import affine_to_spacing
from medfl.errors import DataError
from medfl.models.case_predictor import CasePredictor
from medfl.models.failures import concerns_all, describe_failure
from medfl.models.predicted_case import finish_case
from medfl.models.predicted_folder import PredictedFolder, PredictionOptions
from medfl.models.prediction_files import PredictionFiles
from medfl.models.prediction_folder import CaseRecord, PredictionFolder, require_place
from medfl.models.remedies import reword_error, reword_finding
from medfl.models.trained_model import TrainedModel
from medfl.runs.case_table import size_unit
from medfl.system.text import plural

Steps = Callable[[int, int], None]  # done, in all


class FolderPrediction:
    """Prediction of a data folder by models, into a folder.

    Parameters
    ----------
    models : sequence of TrainedModel
        Models whose probabilities are averaged.
    data : DataFolder
        The images.
    out : Path
        Folder for the predictions.
    options : PredictionOptions
        How to predict.
    only : collection of str
        Pseudonyms of the images that are meant; empty: all.

    Raises
    ------
    MedflError
        As `medfl.models.case_predictor.CasePredictor` and `medfl.models.prediction_folder.require_place`; ``PRED-FORMAT`` when
        the task has no masks of the format that was asked for; ``DEVICE-MISSING``.
    """

    def __init__(
        self,
        models: Sequence[TrainedModel],
        data: DataFolder,
        out: Path,
        options: PredictionOptions,
        *,
        only: Collection[str] = (),
    ) -> None:
        require_place(out, data)
        self.study = models[0].study
        require_format(options.mask_format, self.study.task)
        self._data, self._options, self._only = data, options, frozenset(only)
        origins = [model.origin for model in models]
        self._origin = _join_origins(origins)
        self._predictor = CasePredictor(models, choose_device(self.study, data.site), flips=options.flips)
        self._files = PredictionFiles(self.study, self._origin, options.mask_format, data.site.data)
        self._names: dict[str, OriginalName] = {}
        self._refused: set[str] = set()  # cases of the data that turned out to be unusable
        self.found = PredictedFolder(self.study, out)
        self.found.note(_warn_of_twins(origins))

    def run(self, *, indexing: Steps | None = None, progress: Steps | None = None) -> PredictedFolder:
        """Predict all images; what is done already is kept. `found` tells how far it came, whatever stops it.

        What is wrong with one image leaves out that image alone. Earlier predictions of images that are not in the data any
        more are removed, and at the end those of images that are left out now.

        Parameters
        ----------
        indexing : callable, optional
            Called with (files read, files to read) while headers are read.
        progress : callable, optional
            Called with (cases done, cases in all).

        Raises
        ------
        MedflError
            As `medfl.data.images_to_predict.find_images_to_predict` and `medfl.models.prediction_folder.PredictionFolder`;
            ``DISK-FULL``, ``PRED-WRITE``, ``STORE-UNWRITABLE``.
        """
        found = self.found
        with PredictionFolder(found.out, self._describe(), again=self._options.again) as folder:
            cohort = self._find_images(indexing)
            found.cases, found.patient_ids = tuple(case.name for case in cohort.cases), cohort.patient_ids
            found.files = cohort.files
            self._note(cohort.findings)
            if self._options.original_names:
                self._names = find_original_names(self._data.site, self.study, found.cases)
            cache = CaseCache(self._data.site, self.study)
            try:
                # first, since a new image may get the name of one that is gone
                found.removed = folder.remove_others(found.cases)
                self._predict_cases(cohort, cache, folder, progress or (lambda done, total: None))
                found.removed += folder.remove_others(found.done)
            finally:
                cache.save()
                done = [case for case in found.cases if case in found.done]
                folder.write_tables(done, size_unit(self.study.task.dimension), self._summarize())
                self._tell_reading()
        return found

    def _find_images(self, indexing: Steps | None) -> Cohort:
        try:
            cohort = find_images_to_predict(self._data, self.study, indexing)
        except DataError as error:
            raise reword_error(error, self._data, self.study) from None
        if not self._only:
            return cohort
        findings = tuple(one for one in cohort.findings if one.case in self._only)
        return replace(cohort, cases=tuple(case for case in cohort.cases if case.name in self._only), findings=findings)

    def _predict_cases(self, cohort: Cohort, cache: CaseCache, folder: PredictionFolder, progress: Steps) -> None:
        found, total = self.found, len(cohort.cases)
        keys: dict[str, str] = {}
        pending = []
        for case in cohort.cases:
            key = _content_key(cache, case)
            if record := folder.find(case.name, key):
                found.keep(record)
            else:
                keys[case.name] = key
                pending.append(case)
        progress(len(found.done), total)
        for group in group_cases(self.study, self._prepare(pending, cache)):
            self._predict_group(group, keys, folder)
            progress(len(found.done) + len(self._refused), total)

    def _predict_group(self, group: Sequence[PreparedCase], keys: Mapping[str, str], folder: PredictionFolder) -> None:
        try:
            predictions = self._predictor.predict(group)
        except Exception as error:  # if of medfl, all of a group have one shape, for which the network may be too deep
            for case in group:
                self._leave_out(case, error)
            return
        for case, probabilities in zip(group, predictions, strict=True):
            try:
                self._write_case(case, probabilities, keys[case.name], folder)
            except Exception as error:
                self._leave_out(case, error)

    def _leave_out(self, case: PreparedCase, error: Exception) -> None:
        """Take note of a case that cannot be predicted, unless the reason is one that holds for the next as well.

        Raises
        ------
        Exception
            The error itself, when memory or disk are the reason.
        """
        if concerns_all(error):
            raise error
        self._refused.add(case.name)
        self._note([describe_failure(error, case.name)])

    def _note(self, findings: Iterable[Finding]) -> None:
        self.found.note(reword_finding(one, self._data, self.study) for one in findings)

    def _prepare(self, cases: Sequence[Case], cache: CaseCache) -> Iterator[PreparedCase]:
        """Yield the cases as the network sees them, those with a label that cannot be used without it."""
        for place, case in enumerate(cases):
            outcome = cache.get_or_prepare(case, len(cases) - place)
            if outcome.meta is None and isinstance(case.label, Source):
                case, outcome = _without_label(case, outcome, cache, len(cases) - place)
            self._note(outcome.findings)
            stored = cache.open_case(case, outcome)
            cache.autosave(outcome)
            if stored and outcome.meta:
                shape = outcome.meta["files"]["image.npy"]["shape"][1:]
                self._note(patch_size_warnings(case.name, shape, self.study))
                yield stored
            else:
                self._refused.add(case.name)

    def _write_case(self, case: PreparedCase, probabilities: Tensor, key: str, folder: PredictionFolder) -> None:
        predicted = finish_case(self.study, case, probabilities)
        folder.remove(case.name)
        name = self._names[case.name].stem if case.name in self._names else case.name
        path, told = self._files.write(case, predicted, folder.path / name)
        self._note(one.of_case(case.name) for one in told)
        record = CaseRecord(
            predicted.result,
            key,
            () if path is None else (path.name,),
            _describe_grid(case),
            tuple((one.code, one.what, one.fix) for one in self.found.findings_of(case.name)),
            self._names[case.name].as_json() if case.name in self._names else None,
        )
        self.found.done[case.name] = folder.add(record)
        self.found.fresh += 1

    def _describe(self) -> dict[str, Any]:
        options = self._options
        return {
            "study": self.study.name,
            "study-hash": self.study.approved_hash(),
            "model": {"name": self._origin.name, "version": self._origin.version, "digest": self._origin.digest},
            "data": self._data.pseudonym,
            "flips": options.flips,
            "masks": options.mask_format,
            "original-names": options.original_names,
        }

    def _summarize(self) -> dict[str, Any]:
        patients, scores = self.found.scores()
        return {
            **self._describe(),
            "classes": list(self.study.task.classes),
            "done": len(self.found.done),
            "left": list(self.found.remaining),
            "removed": list(self.found.removed),
            "left-out": {one.case: one.code for one in self.found.findings if one.case and one.level == "error"},
            "files": None if self.found.files is None else self.found.files.to_json(),
            "scored-patients": patients,
            "scores": scores if patients else {},
        }

    def _tell_reading(self) -> None:
        """Keep for `medfl data whois` what reading the images showed."""
        read = [case for case in self.found.cases if case in self.found.done or case in self._refused]
        codes = reading_results(read, self.found.findings)
        save_reading_results(self._data.site, self.study.name, codes, {})


def _warn_of_twins(origins: Sequence[ModelOrigin]) -> list[Finding]:
    """Return a warning if several models have the same weights: each counts in the mean as often as it was named."""
    twins = len(origins) - len({origin.digest for origin in origins})
    if not twins:
        return []
    what = f"{plural(twins, 'model')} of the {len(origins)} that were named have the weights of another: those count more."
    return [Finding.warning("MODEL-TWICE", what, "Name each model once, unless it is meant.")]


def _content_key(cache: CaseCache, case: Case) -> str:
    try:
        return cache.case_key(case)
    except OSError:
        return ""  # reading it says what is wrong


def _without_label(case: Case, refused: Outcome, cache: CaseCache, remaining: int) -> tuple[Case, Outcome]:
    """Return a case without its label, if it is that which cannot be used, with the reason as a warning."""
    bare = replace(case, label=None)
    outcome = cache.get_or_prepare(bare, remaining)
    if outcome.meta is None:
        return case, refused
    about = [replace(one, level="warning") for one in refused.findings]
    return bare, replace(outcome, findings=(*about, *outcome.findings))


def _describe_grid(case: PreparedCase) -> dict[str, Any]:
    source = case.source
    if source is None:
        return {}
    spacing = affine_to_spacing(source.affine) if len(source.shape) == 3 else ()
    return {"shape": list(source.shape), "spacing": [round(side, 4) for side in spacing]}


def _join_origins(origins: Sequence[ModelOrigin]) -> ModelOrigin:
    """Return what names several models that predict together."""
    if len(origins) == 1:
        return origins[0]
    names = dict.fromkeys(origin.name for origin in origins)
    digest = hashlib.sha256("".join(origin.digest for origin in origins).encode()).hexdigest()
    return ModelOrigin("+".join(names), f"mean of {len(origins)} models", digest)
