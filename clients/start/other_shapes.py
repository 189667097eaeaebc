"""Tensors of a network whose shape depends on the image channels or on the classes, and weights for other channels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from medfl.clients.networks.arrays import distinct_tensors
from medfl.clients.networks.network_builders import build_network_without_memory
from medfl.errors import RunError
from medfl.study import Study


class Variants(NamedTuple):
    """Axes along which a network grows, by the names of its tensors.

    Parameters
    ----------
    inputs : mapping of str to int
        With the number of image channels.
    heads : mapping of str to int
        With the number of classes.
    """

    inputs: Mapping[str, int]
    heads: Mapping[str, int]


def find_variants(study: Study) -> Variants:
    """Find the tensors that depend on image channels and on classes, by building the network with one more, without memory."""
    task = study.task
    usual = _shapes(study)
    more_channels = study.model_copy(update={"task": task.model_copy(update={"channels": task.channel_count + 1})})
    more_classes = study.model_copy(update={"task": task.model_copy(update={"classes": (*task.classes, "another")})})
    return Variants(_growing(usual, _shapes(more_channels)), _growing(usual, _shapes(more_classes)))


def fit_channels(weight: Tensor, count: int, axis: int, how: Literal["refuse", "mean", "repeat", "zero"]) -> Tensor:
    """Return a weight for another number of image channels.

    Parameters
    ----------
    weight : Tensor
        Weight of a layer that sees the image.
    count : int
        Channels that are wanted.
    axis : int
        Axis of the channels.
    how : {"refuse", "mean", "repeat", "zero"}
        ``"mean"``: every channel gets the mean over the file's, so that an image whose channels are all equal gives what it
        gave; ``"repeat"``: the file's channels in turn, again from the first. Both are scaled by old over new number.
        ``"zero"``: the file's channels, and 0 for those beyond.

    Raises
    ------
    RunError
        ``START-FIT`` when they are refused, or ``"zero"`` would leave channels of the file out.
    """
    before = weight.shape[axis]
    if how == "refuse":
        what = f"the weights do not fit the study: they take {before} image channels, and the study has {count}."
        raise RunError("START-FIT", what, 'Write channels = "mean", "repeat" or "zero" in the table \'start\'.')
    if how == "zero" and count < before:
        what = f"the weights do not fit the study: they take {before} image channels, and 'zero' only adds some to those."
        raise RunError("START-FIT", what, 'Write channels = "mean" or "repeat" in the table \'start\'.')
    if how == "zero":
        shape = list(weight.shape)
        shape[axis] = count - before
        return torch.cat([weight, weight.new_zeros(shape)], axis)
    turns = torch.arange(count) % before
    chosen = (
        weight.mean(axis, keepdim=True).repeat_interleave(count, axis) if how == "mean" else weight.index_select(axis, turns)
    )
    return chosen * (before / count)


def _shapes(study: Study) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in distinct_tensors(build_network_without_memory(study)).items()}


def _growing(usual: Mapping[str, torch.Size], more: Mapping[str, torch.Size]) -> dict[str, int]:
    axes = {
        name: [k for k, (a, b) in enumerate(zip(shape, more[name], strict=True)) if a != b]
        for name, shape in usual.items()
        if name in more  # a layer may stand only between unlike numbers of channels
    }
    return {name: found[0] for name, found in axes.items() if found}
