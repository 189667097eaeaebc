"""The steps of local training: one loop for all algorithms, which differ by the terms that they add."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn

from medfl.clients.tasks.inference import forward
from medfl.clients.training import schedules
from medfl.clients.training.augmentation import Augmenter
from medfl.clients.training.batches import count_steps, iter_batches
from medfl.clients.training.devices import Device
from medfl.clients.training.losses import build_loss, class_weights
from medfl.clients.training.optimizers import build_optimizer, set_factor
from medfl.clients.training.task import StepHooks, TrainTask
from medfl.errors import TrainingError
from medfl.study import Study

_CHECK_LOSS_EVERY = 25  # steps between looks at the loss on a GPU, which has to be waited for
_SAMPLING_STREAM, _AUGMENTATION_STREAM = 0, 1  # independent streams of random numbers under one seed


def train_steps(
    work: TrainTask,
    net: nn.Module,
    terms: StepHooks | None = None,
    *,
    study: Study | None = None,
    parameters: Iterable[nn.Parameter] | None = None,
    phase: int = 0,
) -> float:
    """Take the steps of one round, and return the mean loss over them, without what the terms add.

    Parameters
    ----------
    work : Work
        What is asked; gives cases, place, round and seed.
    net : torch.nn.Module
        What is trained, on the device of the place. It may be another than ``work.net``.
    terms : StepHooks, optional
        What the algorithm adds.
    study : Study, optional
        In place of the work's, for other steps: see `with_steps`.
    parameters : iterable of Parameter, optional
        What is changed; all of `net` unless given.
    phase : int
        Number of this fit within the round, from 0: each has its own random batches.

    Raises
    ------
    TrainingError
        ``LOSS-NONFINITE`` and whatever the making of batches raises.
    """
    study, place, terms = study or work.study, work.require_device(), terms or StepHooks()
    cases, seed = work.prepared.get_split("train"), work.seed if not phase else spawn_seed(work.seed, 100 + phase)
    tuned = list(net.parameters() if parameters is None else parameters)
    net.train()
    loss_of = build_loss(study, _to_device(place, class_weights(study, cases)))
    optimizer, scaler = build_optimizer(study.optimizer, tuned), place.scaler()
    augment = Augmenter(study.augmentation, spawn_seed(seed, _AUGMENTATION_STREAM))
    steps = count_steps(study, len(cases))
    total = torch.zeros(
        (), dtype=torch.float64 if place.torch_device.type != "mps" else torch.float32, device=place.torch_device
    )
    for step, batch in enumerate(iter_batches(study, cases, np.random.default_rng(spawn_seed(seed, _SAMPLING_STREAM)))):
        images, labels = augment(batch.images.to(place.torch_device), batch.labels.to(place.torch_device), batch.spacing)
        progress = schedules.study_progress(work.server_round, step, steps, study.rounds)
        factor = schedules.lr_factor(study.schedule, progress, study.rounds)
        set_factor(optimizer, study.optimizer, factor)
        optimizer.zero_grad(set_to_none=True)
        with place.autocast():
            logits = forward(net, images).float()
        terms.annotated = batch.annotated
        loss = loss_of(logits, labels, batch.annotated)
        scaler.scale(terms.compute_loss(net, images, labels, logits, loss)).backward()  # type: ignore[no-untyped-call]
        scaler.unscale_(optimizer)
        terms.adjust_gradients(net)
        if study.optimizer.clip_norm:
            nn.utils.clip_grad_norm_(tuned, study.optimizer.clip_norm)
        scaler.step(optimizer)
        scaler.update()
        terms.after_step(net, study.optimizer.learning_rate * factor)
        total += loss.detach()
        if place.torch_device.type == "cpu" or (step + 1) % _CHECK_LOSS_EVERY == 0 or step + 1 == steps:
            _check_loss(total)
    return float(total) / steps


def with_steps(study: Study, steps: int) -> Study:
    """Return a study whose rounds have so many optimizer steps; everything else stays."""
    return study.model_copy(update={"training": study.training.model_copy(update={"local_steps": steps})})


def spawn_seed(seed: int, which: int) -> int:
    """Return the seed of one of several independent streams of random numbers."""
    return int(np.random.SeedSequence([seed, which]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _check_loss(total: Tensor) -> None:
    if not math.isfinite(float(total)):
        fix = "Lower optimizer.learning-rate or set optimizer.clip-norm."
        raise TrainingError("LOSS-NONFINITE", "the training loss became not-a-number.", fix)


def _to_device(place: Device, weights: Tensor | None) -> Tensor | None:
    return None if weights is None else weights.to(place.torch_device)
