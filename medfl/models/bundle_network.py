"""The network of a bundle: MONAI's class with its arguments, held against the trained network before it is written."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import torch
from monai.bundle import ConfigParser
from torch import Tensor, nn

from medfl.study import Study
from medfl.study.network_definitions import define_network
from medfl.study.network_options import Norm

TOLERANCE = 1e-5  # of logits, against the largest of them: sums in another order
_GROUPS = "torch.nn.GroupNorm(next(g for g in (8, 4, 2, 1) if layer.num_features % g == 0), layer.num_features)"


@dataclass(frozen=True)
class BundleNetwork:
    """A trained network as others build it.

    Parameters
    ----------
    definition : dict, optional
        The class of MONAI with its arguments; None where no class builds this network.
    replacement : str
        Expression of the layer that stands for each instance or batch norm, called ``layer``, where the arguments of the class
        do not reach all of them; empty where they do.
    dimension : int
        2 or 3.
    reason : str
        Why there is no definition, a sentence.
    state : dict of str to Tensor
        State dict of the network that is built so; without a definition, of the trained network.
    """

    definition: dict[str, Any] | None
    replacement: str
    dimension: int
    reason: str
    state: dict[str, Tensor]

    def config(self) -> dict[str, Any]:
        """Return the items of a configuration that build the network, the last of them ``network_def``."""
        if not self.replacement:
            return {"network_def": self.definition}
        kinds = f"(torch.nn.InstanceNorm{self.dimension}d, torch.nn.BatchNorm{self.dimension}d)"
        return {
            "architecture": self.definition,
            "replaced_norms": (
                f"$[monai.networks.utils.replace_modules(@architecture, name, {self.replacement}) for name, layer in "
                f"list(@architecture.named_modules(remove_duplicate=False)) if isinstance(layer, {kinds})]"
            ),
            "network_def": "$(@replaced_norms, @architecture)[1]",  # in this order
        }


def make_bundle_network(study: Study, net: nn.Module, images: Tensor) -> BundleNetwork:
    """Find MONAI's class for a trained network, and its state dict.

    Parameters
    ----------
    study : Study
        Study that names the network.
    net : torch.nn.Module
        The network with its weights, in evaluation mode, on the CPU.
    images : Tensor
        Images (B, C, X, Y[, Z]) on which both must agree.
    """
    reason = "MONAI has blocks for this network, and no class that is the network."
    for norm, replacement in _candidates(study):
        found = define_network(study, norm)
        if found is None:
            break
        definition = {"_target_": found.name, **json.loads(json.dumps(found.arguments))}
        built = BundleNetwork(definition, replacement, study.task.dimension, "", {})
        state, reason = _compare(built, net, images)
        if state is not None:
            return BundleNetwork(definition, replacement, study.task.dimension, "", state)
    return BundleNetwork(None, "", study.task.dimension, reason, net.state_dict())


def are_close(one: Tensor, other: Tensor) -> bool:
    """Return whether logits are equal but for the order in which sums are taken."""
    return one.shape == other.shape and bool((one - other).abs().max() <= TOLERANCE * max(1.0, float(other.abs().max())))


def _candidates(study: Study) -> list[tuple[Norm, str]]:
    """Return the ways to say a normalisation: as an argument, or by another layer in the place of each."""
    batch = f"torch.nn.BatchNorm{study.task.dimension}d(layer.num_features)"
    layers = {
        "instance": f"torch.nn.InstanceNorm{study.task.dimension}d(layer.num_features, affine=True)",
        "group": _GROUPS,
        "batch": batch,
        "batch-frozen": batch,
    }
    return [(study.network.norm, ""), ("instance", layers[study.network.norm])]


def _compare(built: BundleNetwork, net: nn.Module, images: Tensor) -> tuple[dict[str, Tensor] | None, str]:
    """Return the state dict with which a network is the trained one; or None, and why there is none."""
    try:
        # MONAI evaluates expressions in it: all are written in this module, and the arguments are numbers and fixed words
        other = ConfigParser(built.config()).get_parsed_content("network_def").eval()
    except RuntimeError as error:  # MONAI's word for whatever a class raises
        return None, f"MONAI's class does not take these arguments ({type(error.__cause__ or error).__name__})."
    state = _transfer(net.state_dict(), other.state_dict())
    if state is None:
        return None, "MONAI's class has other tensors than this network."
    other.load_state_dict(state)
    with torch.inference_mode():
        logits, wanted = other(images), net(images)
    if not isinstance(logits, Tensor):
        return None, "MONAI's class returns its hidden states with the logits."
    return (state, "") if are_close(logits, wanted) else (None, "MONAI's class gives other logits than this network.")


def _transfer(values: dict[str, Tensor], names: dict[str, Tensor]) -> dict[str, Tensor] | None:
    """Return tensors under the names of another network, which has the same ones in the same order; None where it has not.

    A dropout layer before the head, which medfl adds and MONAI does not, changes names and nothing else.
    """
    if [value.shape for value in values.values()] != [value.shape for value in names.values()]:
        return None
    return dict(zip(names, values.values(), strict=True))
