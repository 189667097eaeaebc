"""Yardstick of the simulation: federated averaging in plain PyTorch, with as many processes and no framework.

Reads each image once, trains every site for an epoch a round, averages by the number of patients and scores the received
model on the validation patients every round: the same steps as the medfl study of the benchmark.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from monai.losses import DiceCELoss
from monai.networks.nets import UNet
from torch import Tensor, nn

CLASSES, BATCH, VALIDATION = 3, 2, 4
State = dict[str, Tensor]


def build(seed: int) -> nn.Module:
    """Return the network of the benchmark."""
    torch.manual_seed(seed)
    return UNet(3, 1, CLASSES, (16, 32, 64), (2, 2), num_res_units=2, norm=("INSTANCE", {"affine": True}))


def read(site: Path) -> tuple[Tensor, Tensor]:
    """Return images (N, 1, X, Y, Z), z-scored, and masks (N, X, Y, Z)."""
    images, masks = [], []
    for patient in sorted(p for p in site.iterdir() if p.is_dir()):
        image = np.asarray(nib.load(patient / "image.nii.gz").dataobj, np.float32)
        images.append((image - image.mean()) / image.std())
        masks.append(np.asarray(nib.load(patient / "label.nii.gz").dataobj, np.uint8))
    return torch.from_numpy(np.stack(images))[:, None], torch.from_numpy(np.stack(masks))


def dice(net: nn.Module, images: Tensor, masks: Tensor) -> list[float]:
    """Return the mean Dice over the foreground classes of each image."""
    net.eval()
    found = []
    with torch.inference_mode():
        for image, truth in zip(images, masks, strict=True):
            labels = net(image[None]).argmax(1)[0]
            pairs = [(labels == c, truth == c) for c in range(1, CLASSES)]
            found.append(float(np.mean([2 * float((a & b).sum()) / max(float(a.sum() + b.sum()), 1) for a, b in pairs])))
    return found


def train(net: nn.Module, images: Tensor, masks: Tensor, seed: int) -> None:
    """Train for one epoch."""
    net.train()
    loss_of = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True, batch=True)
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(images)))
    for chosen in order.split(BATCH):
        optimizer.zero_grad(set_to_none=True)
        loss_of(net(images[chosen]), masks[chosen][:, None]).backward()
        optimizer.step()


def work(connection: Connection, sites: list[Path], seed: int) -> None:
    """Answer for some sites: score the received model, train it, send it back."""
    torch.set_num_threads(1)
    net, data = build(seed), [read(site) for site in sites]
    while (message := connection.recv()) is not None:
        server_round, closing, state = message
        for k, (images, masks) in enumerate(data):
            net.load_state_dict(state)
            scores = dice(net, images[:VALIDATION], masks[:VALIDATION]) if server_round > 1 else []
            if not closing:
                train(net, images[VALIDATION:], masks[VALIDATION:], 10_000 * seed + 100 * server_round + k)
            connection.send((scores, {name: value.clone() for name, value in net.state_dict().items()}))


def main(folder: Path, rounds: int, processes: int, seed: int) -> None:
    """Run the rounds and print the last score and the seconds of each round as JSON."""
    begun = time.time()
    sites = sorted(p for p in folder.iterdir() if p.is_dir())
    context = multiprocessing.get_context("fork")
    pipes, workers = [], []
    for k in range(processes):
        ours, theirs = context.Pipe()
        worker = context.Process(target=work, args=(theirs, sites[k::processes], seed))
        worker.start()
        pipes.append(ours)
        workers.append(worker)
    state, seconds, scores = build(seed).state_dict(), [], []
    for server_round in [*range(1, rounds + 1), rounds + 1]:
        started = time.time()
        closing = server_round > rounds
        for pipe in pipes:
            pipe.send((server_round, closing, state))
        replies = [pipe.recv() for k, pipe in enumerate(pipes) for _ in sites[k::processes]]
        scores = [score for found, _ in replies for score in found]
        if not closing:
            state = {name: sum(reply[name] for _, reply in replies) / len(replies) for name in state}
            seconds.append(time.time() - started)
    for pipe in pipes:
        pipe.send(None)
    for worker in workers:
        worker.join()
    sys.stdout.write(json.dumps({"dice": float(np.mean(scores)), "rounds": seconds, "started": begun}) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *(int(argument) for argument in sys.argv[2:5]))
