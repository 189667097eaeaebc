"""Buffers of a model: floating-point tensors that are no parameters, such as the running statistics of BatchNorm.

An optimizer at the server, a drift or a distance means something for parameters alone: a variance that is carried on past the
mean of the replies may fall below zero. So buffers are averaged, and count in no norm and no distance.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from logging import INFO, WARNING, getLogger
from typing import Any, Protocol

from medfl.errors import ExchangeError
from medfl.messages.models import Tensors

_log = getLogger("flwr")

_RUNNING_STATISTICS = (  # ends of names
    *("running_mean", "running_var", "num_batches_tracked"),  # in PyTorch's normalisation layers
    *("ema_cluster_size", "ema_w"),  # in MONAI's EMAQuantizer
)
_SHOWN = 3  # names in the log


class HasParameters(Protocol):
    """A network that knows the names of its parameters, as a `torch.nn.Module` does."""

    def named_parameters(self, *, remove_duplicate: bool = ...) -> Iterator[tuple[str, Any]]:
        """Yield names and parameters."""


def read_parameter_names(net: HasParameters) -> frozenset[str]:
    """Return the names of the parameters of a network, for the keyword `parameter_names` of a strategy.

    Parameters
    ----------
    net : torch.nn.Module
        The network; a parameter with several names is listed under each of them.

    Examples
    --------
    For a model that is sent as ``ArrayRecord(net.state_dict())``::

        strategy = FedAdam(parameter_names=read_parameter_names(net))

    For one of which only some arrays are sent, or as a list whose names are numbers::

        parameters = read_parameter_names(net)
        FedAdam(parameter_names=parameters & set(arrays))
        FedAdam(parameter_names=[str(k) for k, name in enumerate(net.state_dict()) if name in parameters])
    """
    return frozenset(name for name, _ in net.named_parameters(remove_duplicate=False))


def freeze_names(names: Iterable[str] | None) -> frozenset[str] | None:
    """Return names as a set, read once; ValueError for a text, whose letters would be taken for names."""
    if isinstance(names, str):
        raise ValueError(f"parameter_names must be a collection of names, came the text {names!r}: write [{names!r}]")
    return None if names is None else frozenset(names)


def find_buffers(model: Tensors, parameter_names: Collection[str] | None) -> frozenset[str]:
    """Return the names of the buffers of a model.

    Parameters
    ----------
    model : mapping of str to ndarray
        The model.
    parameter_names : collection of str, optional
        Names of its parameters. Unless given, the buffers are the tensors whose names end as those of running statistics do.

    Raises
    ------
    ExchangeError
        ``PARAMETER-NAMES`` when one of the names given is that of no tensor of the model, or none is of floating point.

    Examples
    --------
    >>> import numpy as np
    >>> sorted(find_buffers({"norm.weight": np.ones(2), "norm.running_var": np.ones(2)}, None))
    ['norm.running_var']
    """
    floats = [name for name, tensor in model.items() if tensor.dtype.kind == "f"]
    if parameter_names is None:
        return frozenset(name for name in floats if name.endswith(_RUNNING_STATISTICS))
    unknown, buffers = sorted(set(parameter_names) - set(model)), frozenset(floats) - frozenset(parameter_names)
    what = ""
    if unknown:
        what = f"{len(unknown)} of the {len(parameter_names)} names are not in the model, the first is {unknown[0]!r}."
    elif floats and len(buffers) == len(floats):
        what = f"none of the {len(parameter_names)} names is that of a floating-point tensor of the model."
    if what:
        raise ExchangeError(
            "PARAMETER-NAMES",
            f"'parameter_names': {what} A parameter that is not named would be averaged and not optimised.",
            "Give the names that the arrays have when they are sent, such as read_parameter_names(net) & set(arrays).",
        )
    return buffers


class _MayDistinguish(Protocol):
    @property
    def distinguishes_buffers(self) -> bool: ...


def log_buffers(parts: Iterable[_MayDistinguish], model: Tensors, buffers: Collection[str], *, is_told: bool) -> None:
    """Log which tensors are taken for buffers, or warn when their names cannot tell, if it matters to anyone.

    Parameters
    ----------
    parts : iterable of FedAvg or ReplyTransform
        The strategy and its transforms.
    model : mapping of str to ndarray
        The model.
    buffers : collection of str
        Names of its buffers.
    is_told : bool
        Whether the names of the parameters were given.
    """
    careful = [type(part).__name__ for part in parts if part.distinguishes_buffers]
    if not careful:
        return
    if buffers:
        first = ", ".join([name for name in model if name in buffers][:_SHOWN])
        reason = "they are not in 'parameter_names'" if is_told else "their names say so; 'parameter_names' decides otherwise"
        more = ", ..." if len(buffers) > _SHOWN else ""
        _log.log(INFO, "%d tensors are buffers, averaged and not optimised (%s%s): %s", len(buffers), first, more, reason)
    elif not is_told and model and all(name.isdecimal() for name in model):
        _log.log(
            WARNING,
            "%s treats parameters and buffers differently, and the arrays have numbers for names, so all of floating point are "
            "taken for parameters. For a model with BatchNorm this is wrong: send named arrays, ArrayRecord(net.state_dict()), "
            "or say with 'parameter_names' which are parameters.",
            careful[0],
        )
