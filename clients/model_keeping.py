"""Keeping of the chosen model at a hospital: it came with the test, and stays there where the hospital's policy says so.

Kept are the model of all hospitals, and the hospital's own where the study makes one. A model that another hospital trained
alone, which is only tested here, is not. Nothing of the answer depends on it, and no failure of it ends the test.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from medfl import metrics
from medfl.clients.networks.layers import shared_names
from medfl.clients.networks.tuning import build_training_network_without_memory
from medfl.errors import MedflError
from medfl.messages.message_proof import MessageProof
from medfl.messages.models import Tensors
from medfl.messages.records import EVAL_PATIENTS, MODEL_ROUND, Metrics
from medfl.runs.kept_models import KeptModel, Which, models_folder, write_kept
from medfl.runs.low_rank_arrays import merge_low_rank
from medfl.site import Site
from medfl.study import Study

_log = logging.getLogger("medfl.site")


@dataclass(frozen=True)
class ModelKeeper:
    """Keeps the models of a test.

    Parameters
    ----------
    study : Study
        The study.
    site : Site
        The hospital.
    run : str
        Name of the run.
    config : mapping
        Configuration of the message; it says of which round the model is.
    proof : MessageProof, optional
        What shows that the server sent the message; None where nothing is signed.
    """

    study: Study
    site: Site
    run: str
    config: Mapping[str, object]
    proof: MessageProof | None = None

    def __call__(self, which: Which, arrays: Tensors, scores: Metrics) -> None:
        """Keep a whole model, where the policy of the site says so.

        Parameters
        ----------
        which : {"shared", "personal"}
            The model of all hospitals, or the site's own.
        arrays : mapping of str to ndarray
            The model, in the order of the network in training; it is kept as the plain network of the study has it.
        scores : dict
            Its exact scores on the site's own test patients.
        """
        if not self.site.policy.keep_models:
            return
        try:
            is_own = which == "personal"
            model, whole = self._describe(which, scores), merge_low_rank(self.study, arrays)
            sent = None if is_own else self._sent(arrays)
            write_kept(models_folder(self.site), self.study, whole, model, self.site.name if is_own else "", sent)
        except MedflError as error:
            _log.warning("[MODEL-NOT-KEPT] %s The test goes on. (%s: %s)", error.what, self.study.name, self.run)
        else:
            _log.info("A model of %s (%s) stays at this site: medfl site models", self.study.name, self.run)

    def _sent(self, arrays: Tensors) -> Tensors | None:
        """Return what came of a shared model where that is a part of it, so that it can be held against the signature."""
        if not self.study.training.tunes_part:
            return None
        names = shared_names(self.study, build_training_network_without_memory(self.study))
        return {name: arrays[name] for name in names}

    def _describe(self, which: Which, scores: Metrics) -> KeptModel:
        derived = metrics.derive(self.study, scores)
        test = {"score": metrics.headline(self.study, scores), "patients": scores[EVAL_PATIENTS], "scores": derived}
        is_shared = which == "shared"
        return KeptModel(
            self.study.name,
            self.study.approved_hash(),
            self.run,
            which,
            self._model_round() if is_shared else None,
            test if scores[EVAL_PATIENTS] else {},
            self.proof.to_json() if is_shared and self.proof else None,
        )

    def _model_round(self) -> int | None:
        """Return of which round the server says that the model is; what cannot be so is as nothing."""
        told = self.config.get(MODEL_ROUND)
        return told if type(told) is int and 1 <= told <= self.study.rounds else None
