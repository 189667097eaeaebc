"""The two things a hospital does with a model: train it on its own images, and score it on patients set aside.

Both are functions of their arguments alone: every seed is given, and nothing of an earlier call in the same process is seen.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from medfl import records
from medfl.clients import classification, previews, schedules, segmentation
from medfl.clients.augmentation import Augmenter
from medfl.clients.devices import Place, choose_place, settled
from medfl.clients.exchange import Arrays, check_finite, exchange_arrays, load_arrays
from medfl.clients.inference import forward
from medfl.clients.losses import build_loss, class_weights
from medfl.clients.optimizers import build_optimizer, set_factor
from medfl.clients.sampling import batches, steps_of
from medfl.clients.scored import Scored
from medfl.data.store.stored import Prepared, StoredCase
from medfl.errors import ExchangeError, TrainingError
from medfl.records import Metrics
from medfl.runs.durable import write_file, writing
from medfl.site import Site
from medfl.study import Study

_LOOK_EVERY = 25  # steps between looks at the loss on a GPU, which has to be waited for
_SAMPLING, _AUGMENTATION = 0, 1  # independent streams of random numbers under one seed


@dataclass(frozen=True, eq=False)
class TrainOutcome:
    """What training gives back.

    Parameters
    ----------
    arrays : dict of str to ndarray
        The trained tensors, as `exchange_arrays` orders them.
    metrics : dict
        The ``train.*`` metrics.
    """

    arrays: Arrays
    metrics: Metrics


def train(
    study: Study,
    site: Site,
    prepared: Prepared,
    net: nn.Module,
    arrays: Mapping[str, NDArray[np.generic]],
    server_round: int,
    seed: int,
) -> TrainOutcome:
    """Train a model on the training cases of a site for one round.

    Parameters
    ----------
    study : Study
        Says how, and how much.
    site : Site
        Gives the device.
    prepared : Prepared
        The site's cases.
    net : torch.nn.Module
        Built by `build_network` for this study; its weights are overwritten.
    arrays : mapping of str to ndarray
        The model to start from.
    server_round : int
        From 1; the learning rate goes on across rounds.
    seed : int
        Of all that is random in this round at this site, not negative.

    Returns
    -------
    TrainOutcome

    Raises
    ------
    TrainingError
        ``TRAIN-NO-CASES``, ``TRAIN-SHAPES``, ``LOSS-NONFINITE``, ``WEIGHTS-NONFINITE``, ``NET-TOO-DEEP``, ``DEVICE-MISSING``.
    ExchangeError
        When `arrays` do not fit the network.
    """
    begun = time.perf_counter()
    cases = prepared.split("train")
    place = choose_place(study, site)
    with settled(study, place, seed):
        net.to(place.device)
        load_arrays(net, arrays)
        mean_loss = _fit(study, cases, net, place, server_round, seed)
        trained = exchange_arrays(net)
    try:
        check_finite(trained)
    except ExchangeError as error:
        raise TrainingError("WEIGHTS-NONFINITE", error.what, error.fix) from None
    told: Metrics = {
        records.TRAIN_PATIENTS: prepared.patients("train"),
        records.TRAIN_SAMPLES: len(cases),
        records.TRAIN_STEPS: steps_of(study, len(cases)),
        records.TRAIN_LOSS: mean_loss,
        records.TRAIN_SECONDS: time.perf_counter() - begun,
    }
    return TrainOutcome(trained, told)


def evaluate(
    study: Study,
    site: Site,
    prepared: Prepared,
    net: nn.Module,
    arrays: Mapping[str, NDArray[np.generic]],
    split: str,
    folder: Path | None = None,
) -> Metrics:
    """Score a model on the patients of one split.

    Parameters
    ----------
    study, site, prepared, net, arrays
        As in `train`.
    split : {"validation", "test"}
        Which patients.
    folder : Path, optional
        The site's own folder. There go ``test.json``, with the scores of each patient by pseudonym, and, when the policy of
        the site allows them, ``previews/preview-1.npz``, ... from the best to the worst image.

    Returns
    -------
    dict
        The ``eval.*`` metrics; zeros when the split holds nobody.
    """
    cases = prepared.split(split)
    place = choose_place(study, site)
    with settled(study, place, study.seed):
        net.to(place.device)
        load_arrays(net, arrays)
        net.eval()
        # balanced weights belong to the training cases of one site, and losses of sites are to be compared
        weights = None if study.loss.class_weights == ("balanced",) else class_weights(study, ())
        loss = build_loss(study, _on(place, weights))
        if study.task.kind == "segmentation":
            keep = folder is not None and site.policy.previews and study.simulation.previews > 0
            scored = segmentation.score(study, cases, net, place, loss, split, keep_previews=keep)
        else:
            scored = classification.score(study, cases, net, place, loss)
    if folder is not None:
        _write(scored, study, split, folder)
    return scored.metrics


def _fit(study: Study, cases: tuple[StoredCase, ...], net: nn.Module, place: Place, server_round: int, seed: int) -> float:
    """Take the steps of one round; return the mean loss over them."""
    net.train()
    loss_of = build_loss(study, _on(place, class_weights(study, cases)))
    optimizer, scaler = build_optimizer(study.optimizer, net.parameters()), place.scaler()
    augment = Augmenter(study.augmentation, _stream(seed, _AUGMENTATION))
    steps = steps_of(study, len(cases))
    total = torch.zeros((), dtype=torch.float64 if place.device.type != "mps" else torch.float32, device=place.device)
    rng = np.random.default_rng(_stream(seed, _SAMPLING))
    for step, batch in enumerate(batches(study, cases, rng)):
        images, labels = augment(batch.images.to(place.device), batch.labels.to(place.device), batch.spacing)
        progress = schedules.progress(server_round, step, steps, study.rounds)
        set_factor(optimizer, study.optimizer, schedules.factor(study.schedule, progress, study.rounds))
        optimizer.zero_grad(set_to_none=True)
        with place.autocast():
            logits = forward(net, images)
        loss = loss_of(logits.float(), labels)
        scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        if study.optimizer.clip_norm:
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(net.parameters(), study.optimizer.clip_norm)
        scaler.step(optimizer)
        scaler.update()
        total += loss.detach()
        if place.device.type == "cpu" or (step + 1) % _LOOK_EVERY == 0 or step + 1 == steps:
            _check_loss(total)
    return float(total) / steps


def _check_loss(total: Tensor) -> None:
    if not math.isfinite(float(total)):
        fix = "Lower optimizer.learning-rate or set optimizer.clip-norm."
        raise TrainingError("LOSS-NONFINITE", "the training loss became not-a-number.", fix)


def _on(place: Place, weights: Tensor | None) -> Tensor | None:
    return None if weights is None else weights.to(place.device)


def _stream(seed: int, which: int) -> int:
    return int(np.random.SeedSequence([seed, which]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _write(scored: Scored, study: Study, split: str, folder: Path) -> None:
    told = {"split": split, "kind": study.task.kind, "patients": scored.patients}
    with writing("the scores by patient"):
        folder.mkdir(parents=True, exist_ok=True)
        write_file(folder / f"{split}.json", json.dumps(told, indent=1).encode())
        if scored.previews:
            previews.write(previews.choose(scored.previews, study.simulation.previews), folder / "previews")
