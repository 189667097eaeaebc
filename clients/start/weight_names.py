"""Names of weights: the same layer is called otherwise by programs that wrap a network, and by other libraries."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

# what DataParallel, Lightning, torch.compile and training programs put before the names of a network
_PREFIXES = ("module.", "model.", "net.", "network.", "_orig_mod.", "backbone.", "student.")
_ADDED = ("", "model.", "swinViT.")  # what a file may lack that our names begin with: of a part that was saved alone
_MOST = 4  # prefixes one after the other

# Names of torchvision and of pre-training programs, by network, as MONAI's own loaders translate them.
_RENAMES: Mapping[str, tuple[tuple[str, str], ...]] = {
    "densenet121": (
        (r"^(.*denselayer\d+)\.(norm|relu|conv)\.?([12])\.", r"\1.layers.\2\3."),
        (r"^classifier\.", "class_layers.out."),
        (r"^features\.norm5\.", "features.norm5."),
    ),
    "swin-unetr": ((r"\.mlp\.fc([12])\.", r".mlp.linear\1."),),
    "resnet": ((r"^fc\.(weight|bias)$", r"fc.1.\1"),),  # where dropout stands before the head
}


class Naming(NamedTuple):
    """A way to read the names of a file: name in the network's form, and in the file's."""

    to_file: Mapping[str, str]
    prefix: str


def choose_naming(network: str, names: Iterable[str], known: Mapping[str, object]) -> Naming:
    """Return the reading under which most names of a file are those of a network; of equal ones the plainest.

    Parameters
    ----------
    network : str
        Name of the network in a study.
    names : iterable of str
        Names in the file.
    known : mapping
        All names of the network.
    """
    candidates = list(_list_namings(network, list(names)))
    return max(candidates, key=lambda naming: len(naming.to_file.keys() & known.keys()))  # the first of equal ones


def _list_namings(network: str, names: list[str]) -> Iterator[Naming]:
    for prefix in _list_prefixes(names):
        kept = {name.removeprefix(prefix): name for name in names if name.startswith(prefix)}
        for added in _ADDED:
            plain = {f"{added}{name}": source for name, source in kept.items()}
            yield Naming(plain, prefix)
            rules = _RENAMES.get(network, ())
            for count in range(1, len(rules) + 1):
                renamed = {_rename(name, rules[:count]): source for name, source in plain.items()}
                yield Naming(renamed, prefix)


def _list_prefixes(names: list[str]) -> list[str]:
    found = [""]
    for _ in range(_MOST):
        longer = [p + part for p in found for part in _PREFIXES if any(name.startswith(p + part) for name in names)]
        found += [prefix for prefix in longer if prefix not in found]
    return found


def _rename(name: str, rules: Iterable[tuple[str, str]]) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name
