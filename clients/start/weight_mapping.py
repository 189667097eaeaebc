"""Mapping of a file's weights to the network of a study, by name and shape, with what became of every tensor."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from medfl.clients.networks.arrays import Arrays, distinct_tensors, first_names, get_arrays
from medfl.clients.networks.layers import local_names
from medfl.clients.networks.network_builders import FrozenBatchNorm, build_network
from medfl.clients.start.other_shapes import Variants, find_variants, fit_channels
from medfl.clients.start.weight_names import Naming, choose_naming
from medfl.clients.start.weights_file import Weights
from medfl.errors import RunError
from medfl.study import Study
from medfl.system.text import plural

How = Literal["taken", "renamed", "channels", "neutral", "new"]
WORDS: Mapping[How, str] = {
    "taken": "taken as they are",
    "renamed": "taken under another name",
    "channels": "taken for another number of image channels",
    "neutral": "begin as 1 and 0, since the file's normalisation has no such parameters",
    "new": "made new from the seed",
}
_STATISTICS, _COUNTER = "running_mean", "num_batches_tracked"
_FROZEN_STATISTICS = (_STATISTICS, "running_var")
_INSTANCE = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)


@dataclass(frozen=True)
class MappedTensor:
    """What became of one tensor of the network.

    Parameters
    ----------
    name : str
        Its name.
    how : str
        Key of `WORDS`.
    source : str
        Its name in the file; empty where it does not come from there.
    shape : tuple of int
        Its shape.
    """

    name: str
    how: How
    source: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class MappedWeights:
    """The weights with which a network begins.

    Parameters
    ----------
    arrays : dict of str to ndarray
        All distinct tensors of the network, in its order.
    table : tuple of MappedTensor
        What became of each.
    left_out : tuple of str
        Names of the file's tensors that are not used.
    """

    arrays: Arrays
    table: tuple[MappedTensor, ...]
    left_out: tuple[str, ...]

    def sentences(self) -> list[str]:
        """Say in words what became of the tensors: how many were taken, renamed, made new, left out."""
        counts = Counter(row.how for row in self.table)
        said = [f"{plural(counts[how], 'tensor')}: {words}" for how, words in WORDS.items() if counts[how]]
        if self.left_out:
            said.append(f"{plural(len(self.left_out), 'tensor')} of the file: left out, the first is {self.left_out[0]!r}")
        return said


def map_weights(study: Study, weights: Weights) -> MappedWeights:
    """Map weights to the network of a study, as its table ``start`` allows.

    Parameters
    ----------
    study : Study
        Names the network, and in ``start`` what may differ. New layers come from its seed.
    weights : Weights
        The tensors of a file.

    Raises
    ------
    RunError
        ``START-FIT`` when they are not of this network, or differ in what the study does not allow.
    """
    return _Mapper(study, weights).map()


class _Mapper:
    def __init__(self, study: Study, weights: Weights) -> None:
        self._study, self._weights, self._start = study, weights, study.start
        self._net = build_network(study)
        self._tensors = distinct_tensors(self._net)
        self._aliases = first_names(self._net)
        self._naming: Naming = choose_naming(study.network.name, weights.tensors, self._aliases)
        self._modules = dict(self._net.named_modules(remove_duplicate=False))
        self._variants: Variants = find_variants(study)
        self._sources = self._find_sources()

    def map(self) -> MappedWeights:
        self._check_study()
        self._check_any()
        self._check_normalisation()
        anew = self._find_new_head()
        seeded, arrays, table = get_arrays(self._net), {}, []
        for name, tensor in self._tensors.items():
            how, value = self._take(name, tensor, anew)
            arrays[name] = seeded[name] if value is None else value
            source = self._sources.get(name, "") if value is not None else ""
            table.append(MappedTensor(name, how, source, tuple(tensor.shape)))
        self._check_frozen({row.name for row in table if row.source})
        self._check_missing([row.name for row in table if row.how == "new" and row.name not in anew])
        used_names = {row.name for row in table if row.source}
        used = {source for alias, source in self._naming.to_file.items() if self._aliases.get(alias, "") in used_names}
        return MappedWeights(arrays, tuple(table), tuple(name for name in self._weights.tensors if name not in used))

    def _find_sources(self) -> dict[str, str]:
        """Return the file's name of each tensor; where the file has it twice, as MONAI's DynUNet does, both must be equal."""
        found: dict[str, str] = {}
        for alias, first in self._aliases.items():
            source = self._naming.to_file.get(alias)
            if source is None:
                continue
            other = found.setdefault(first, source)
            if other != source and not torch.equal(self._weights.tensors[other], self._weights.tensors[source]):
                raise _misfit(f"the file has two values for one layer of the network, {other!r} and {source!r}.")
        return found

    def _take(self, name: str, tensor: Tensor, anew: frozenset[str]) -> tuple[How, np.ndarray | None]:
        source = self._sources.get(name)
        if name in anew:
            return "new", None
        if source is None:
            return ("neutral" if self._is_neutral(name) else "new"), None
        value = self._weights.tensors[source]
        how: How = "taken" if source == name or self._aliases.get(source) == name else "renamed"
        if value.shape != tensor.shape:
            value, how = self._fit(name, source, value, tensor), "channels"
        if value.is_floating_point() != tensor.is_floating_point():
            raise _misfit(f"{source!r} is of the type {str(value.dtype).removeprefix('torch.')}.")
        value = value.to(tensor.dtype)
        if tensor.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise _misfit(f"{source!r} holds values that are no numbers.", "Take another checkpoint of it.")
        return how, value.contiguous().numpy().copy()

    def _fit(self, name: str, source: str, value: Tensor, wanted: Tensor) -> Tensor:
        axis = self._variants.inputs.get(name)
        if value.ndim != wanted.ndim and {value.ndim, wanted.ndim} == {4, 5}:
            one, other = ("2-D", "3-D") if value.ndim == 4 else ("3-D", "2-D")
            what = f"they are of a {one} network, and the study's is {other}."
            raise _misfit(what, f"Take weights that were trained on {other} images.")
        others = [k for k, (a, b) in enumerate(zip(value.shape, wanted.shape, strict=False)) if a != b]
        if value.ndim != wanted.ndim or axis is None or others != [axis]:
            shapes = f"{tuple(value.shape)} in the file and {tuple(wanted.shape)} in the study"
            raise _misfit(f"{source!r} is {shapes}.", "Write the numbers of the file's network into the table 'network'.")
        return fit_channels(value, wanted.shape[axis], axis, self._start.channels)

    def _find_new_head(self) -> frozenset[str]:
        """Return the tensors of the head if it begins anew: it stays at the hospitals, or the file has another one."""
        study, heads = self._study, self._variants.heads
        head = frozenset(heads) | local_names(study, self._net, ["head"])
        if "head" in study.local_layers:
            return head
        reason = self._other_head(heads)
        if reason and self._start.head == "refuse":
            raise _misfit(f"{reason}.", "Write head = \"new\" in the table 'start' to begin with a new head.")
        return head if reason else frozenset()

    def _other_head(self, heads: Mapping[str, int]) -> str:
        trained = self._weights.study
        if trained and trained.task.classes != self._study.task.classes:
            return f"they are of a model of the classes {', '.join(trained.task.classes)}"
        for name, axis in heads.items():
            source = self._sources.get(name)
            if source is None and self._is_neutral(name):
                continue
            if source is None:
                return f"the file has no head: {name!r} is missing"
            value, wanted = self._weights.tensors[source], self._tensors[name]
            if value.ndim == wanted.ndim and value.shape[axis] != wanted.shape[axis]:
                return f"they are of a model of {value.shape[axis]} classes, and the study has {wanted.shape[axis]}"
        return ""

    def _check_study(self) -> None:
        """Refuse a model of medfl whose network differs where names and shapes need not tell."""
        trained = self._weights.study
        if trained is None:
            return
        ours, theirs = (study.network.model_dump(by_alias=True, exclude={"dropout"}) for study in (self._study, trained))
        if differing := [key for key in {**ours, **theirs} if ours.get(key) != theirs.get(key)]:
            values = ", ".join(f"network.{key} = {theirs.get(key)!r}" for key in differing)
            raise _misfit(f"they were trained with {values}.", "Write the same into the table 'network'.")

    def _check_any(self) -> None:
        if not self._sources:
            what = f"no name in the file is one of the network {self._study.network.name!r}."
            raise _misfit(what, "Name the network that the file is of, in the table 'network'.")

    def _check_normalisation(self) -> None:
        """Refuse batch norm that the study would replace: it cannot be folded where it stands before a convolution."""
        if self._study.network.norm == "batch-frozen":
            return
        for name in self._naming.to_file:
            layer = name.removesuffix(f".{_STATISTICS}")
            if layer != name and layer in self._modules:
                raise _misfit(
                    "their network has batch norm, with statistics that the study's network does not have.",
                    "Write norm = \"batch-frozen\" in the table 'network', so that they stay as they are.",
                )

    def _is_neutral(self, name: str) -> bool:
        """Return whether a tensor begins as if it were not there: of instance norm that has no parameters in the file."""
        layer, _, last = name.rpartition(".")
        if last == _COUNTER:
            return True
        rest = {f"{layer}.weight", f"{layer}.bias", f"{layer}.{_STATISTICS}"}
        return isinstance(self._modules.get(layer), _INSTANCE) and not rest & self._naming.to_file.keys()

    def _check_frozen(self, taken: Collection[str]) -> None:
        """Refuse frozen batch norm without the file's statistics: it would stay for ever what it is before any training."""
        for alias, name in self._aliases.items():
            layer, _, last = alias.rpartition(".")
            if last in _FROZEN_STATISTICS and isinstance(self._modules[layer], FrozenBatchNorm) and name not in taken:
                what = f"{name!r} of a frozen batch norm would not come from the file, and training could not change it."
                raise _misfit(what, "Take weights that have all batch norm of the study's network, its head included.")

    def _check_missing(self, names: list[str]) -> None:
        if names and self._start.missing == "refuse":
            what = f"the file lacks {len(names)} of {len(self._tensors)} tensors of the network, the first is {names[0]!r}."
            fix = "Write missing = \"new\" in the table 'start' if the rest is to be drawn from the seed."
            raise _misfit(what, fix)


def _misfit(what: str, fix: str = "Name the network that the file is of, in the table 'network'.") -> RunError:
    return RunError("START-FIT", f"the weights do not fit the study: {what}", fix)
