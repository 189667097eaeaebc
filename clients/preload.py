"""Imports of a process that trains, so that its first message finds torch and MONAI already imported."""

import torch

import medfl.clients.node  # noqa: F401

torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)  # the first optimizer of a process imports 800 more modules
