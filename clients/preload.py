"""What a process that trains imports once, so that the first message finds torch and MONAI already there."""

import torch

import medfl.client_app  # noqa: F401

torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)  # the first optimiser of a process imports 800 more modules
