"""Masks: a stream of uniform integers for each pair of sites, which cancels in the sum, and one for each site itself.

Bonawitz et al. 2017, section 4: the vector of site ``u`` leaves as ``x + self(u) + sum of pair(u, v) for v after u - sum of
pair(u, v) for v before u``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from medfl.secure_aggregation.attempt_secrets import agree
from medfl.secure_aggregation.canonical import digest, spell
from medfl.secure_aggregation.keystream import Keystream, derive_key
from medfl.secure_aggregation.layout import CHUNK
from medfl.secure_aggregation.vector import ModularVector


@dataclass(frozen=True)
class MaskBinding:
    """What every mask of an attempt is derived from: sites that differ in one of these have masks that never cancel.

    So a server that sends one site another model gets no sum (Pasquini et al., *Eluding Secure Aggregation in Federated
    Learning via Model Inconsistency*, CCS 2022).

    Parameters
    ----------
    attempt : str
        Digest of the attempt.
    model : str
        Digest of the model that the site received.
    layout : str
        Digest of the layout of the vector.
    keys : str
        Digest of the list of keys.
    sharers : tuple of str
        Sites that shared their seeds, sorted: those that masks are added for.
    """

    attempt: str
    model: str
    layout: str
    keys: str
    sharers: tuple[str, ...]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all of it, hexadecimal."""
        return digest("masks", asdict(self))

    def survivors_text(self, survivors: Sequence[str]) -> bytes:
        """Return what sites sign before anything is unmasked."""
        return spell("survivors", {"masks": self.digest, "survivors": list(survivors)})

    def add_self_mask(self, vector: ModularVector, seed: bytes, site: str, sign: int = 1) -> None:
        """Add the mask of a site itself to a vector, in place; with the sign -1 take it away."""
        _add_stream(vector, seed, {"masks": self.digest, "site": site}, "self-mask", sign)

    def add_pairwise_mask(
        self, vector: ModularVector, private: bytes, public: bytes, pair: tuple[str, str], sign: int = 1
    ) -> None:
        """Add the mask that the first site of a pair has with the second to a vector, in place; with the sign -1 take it away.

        Parameters
        ----------
        vector : ModularVector
            The vector.
        private, public : bytes
            Private mask key of one site of the pair and public one of the other; either way gives the same mask.
        pair : tuple of str
            The site whose vector it is, and the other one.
        sign : int
            1 or -1.
        """
        first, second = pair
        fields = {"masks": self.digest, "pair": sorted(pair)}
        _add_stream(vector, agree(private, public), fields, "pairwise mask", sign if first < second else -sign)


def _add_stream(vector: ModularVector, secret: bytes, fields: Mapping[str, object], label: str, sign: int) -> None:
    for part, values in (("parameters", vector.parameters), ("counters", vector.counters)):
        _add_uniform(values, Keystream(derive_key(secret, label, {**fields, "part": part})), sign)


def _add_uniform(values: NDArray[np.unsignedinteger], stream: Keystream, sign: int) -> None:
    little = values.dtype.newbyteorder("<")
    for start in range(0, values.size, CHUNK):
        chunk = values[start : start + CHUNK]
        uniform = np.frombuffer(stream.read(chunk.nbytes), little)
        (np.add if sign > 0 else np.subtract)(chunk, uniform, out=chunk)
