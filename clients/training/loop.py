"""The training loop: the optimizer steps of one round, the same for all algorithms but for their hooks."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn

from medfl.clients.networks.tuning import start_training
from medfl.clients.training import schedules
from medfl.clients.training.augmentation import Augmenter
from medfl.clients.training.batches import count_steps, iter_batches
from medfl.clients.training.forward import forward
from medfl.clients.training.losses import build_training_loss
from medfl.clients.training.optimizers import build_optimizer, set_factor
from medfl.clients.training.seeds import spawn_seed
from medfl.clients.training.task import StepHooks, TrainTask
from medfl.errors import TrainingError
from medfl.study import Study

_CHECK_LOSS_EVERY = 25  # steps between checks of the loss on a GPU: each check waits for the GPU
_SAMPLING_STREAM, _AUGMENTATION_STREAM = 0, 1  # independent streams of random numbers under one seed


def train_steps(
    task: TrainTask,
    net: nn.Module,
    hooks: StepHooks | None = None,
    *,
    study: Study | None = None,
    parameters: Iterable[nn.Parameter] | None = None,
    phase: int = 0,
) -> float:
    """Take the steps of one round, and return their mean loss, without what the hooks add to it.

    Parameters
    ----------
    task : TrainTask
        Gives cases, device, round and seed.
    net : torch.nn.Module
        The network to train, on the device of the task. It may be another than ``task.net``.
    hooks : StepHooks, optional
        What the algorithm adds to each step.
    study : Study, optional
        Used instead of the task's, for another number of steps: see `with_steps`.
    parameters : iterable of Parameter, optional
        The parameters that change; all of `net` unless given.
    phase : int
        Number of this call within the round, from 0: each draws its own random batches.

    Raises
    ------
    TrainingError
        ``LOSS-NONFINITE``, and whatever `iter_batches` raises.
    """
    study, device, hooks = study or task.study, task.device, hooks or StepHooks()
    cases, seed = task.prepared.get_split("train"), task.seed if not phase else spawn_seed(task.seed, 100 + phase)
    tuned = list(net.parameters() if parameters is None else parameters)
    start_training(study, net)
    loss_of = build_training_loss(study, cases, device.torch_device)
    optimizer, scaler = build_optimizer(study.optimizer, tuned), device.scaler()
    augment = Augmenter(study.augmentation, spawn_seed(seed, _AUGMENTATION_STREAM))
    steps, rng = count_steps(study, *task.case_counts), np.random.default_rng(spawn_seed(seed, _SAMPLING_STREAM))
    total = torch.zeros(
        (), dtype=torch.float64 if device.torch_device.type != "mps" else torch.float32, device=device.torch_device
    )
    for step, batch in enumerate(iter_batches(study, cases, rng, task.case_counts)):
        images, labels = augment(batch.images.to(device.torch_device), batch.labels.to(device.torch_device), batch.spacing)
        progress = schedules.study_progress(task.server_round, step, steps, study.rounds)
        factor = schedules.lr_factor(study.schedule, progress, study.rounds)
        set_factor(optimizer, study.optimizer, factor)
        optimizer.zero_grad(set_to_none=True)
        with device.autocast():
            logits = forward(net, images).float()
        hooks.annotated = batch.annotated
        loss = loss_of(logits, labels, batch.annotated)
        scaler.scale(hooks.compute_loss(net, images, labels, logits, loss)).backward()  # type: ignore[no-untyped-call]
        scaler.unscale_(optimizer)
        hooks.adjust_gradients(net)
        if study.optimizer.clip_norm:
            nn.utils.clip_grad_norm_(tuned, study.optimizer.clip_norm)
        scaler.step(optimizer)
        scaler.update()
        hooks.after_step(net, study.optimizer.learning_rate * factor)
        total += loss.detach()
        if device.torch_device.type == "cpu" or (step + 1) % _CHECK_LOSS_EVERY == 0 or step + 1 == steps:
            _check_loss(total)
    return float(total) / steps


def with_steps(study: Study, steps: int) -> Study:
    """Return a copy of a study whose rounds have this number of optimizer steps."""
    return study.model_copy(update={"training": study.training.model_copy(update={"local_steps": steps})})


def _check_loss(total: Tensor) -> None:
    if not math.isfinite(float(total)):
        fix = "Lower optimizer.learning-rate or set optimizer.clip-norm."
        raise TrainingError("LOSS-NONFINITE", "the training loss became not-a-number.", fix)
