"""Time of one optimizer step, measured on random images: what a run will take before anything is prepared or trained."""

from __future__ import annotations

import time

import torch
from torch import nn

from medfl.clients.networks.tuning import build_training_network, start_training
from medfl.clients.training.devices import choose_device, deterministic
from medfl.clients.training.forward import forward
from medfl.clients.training.losses import build_evaluation_loss
from medfl.clients.training.optimizers import build_optimizer
from medfl.site import Site
from medfl.study import Study

_STEPS = 3  # the first warms up


def measure_step(study: Study, site: Site) -> float | None:
    """Return the seconds of one optimizer step of a study at a site; None where its images have no fixed size.

    Reading and augmenting images are no part of it.

    Parameters
    ----------
    study : Study
        Gives network, size and number of the images, and threads.
    site : Site
        Gives the device.
    """
    size = study.training.patch or study.preprocessing.size
    if not size:
        return None
    task, count, device = study.task, study.training.batch_size, choose_device(study, site)
    with deterministic(study, device, study.seed):
        net = build_training_network(study).to(device.torch_device)
        start_training(study, net)
        images = torch.randn((count, task.channel_count, *size), device=device.torch_device)
        of_batch = (count, *size) if task.kind == "segmentation" else (count,)
        labels = torch.randint(len(task.classes), of_batch, device=device.torch_device)
        return min([_time_step(study, net, images, labels) for _ in range(_STEPS)][1:])


def _time_step(study: Study, net: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    begun = time.perf_counter()
    optimizer = build_optimizer(study.optimizer, net.parameters())
    loss = build_evaluation_loss(study, images.device)(forward(net, images).float(), labels, [()] * len(images))
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    loss.item()
    return time.perf_counter() - begun
