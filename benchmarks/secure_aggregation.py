"""Cost of the core of secure aggregation alone: no network, no training, no Flower.

One hospital of several does what each of them does; the others' vectors are as long, and masked alike. ``python -m
benchmarks.secure_aggregation`` prints what a hospital sends in a round, its seconds and memory, and those of the server.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from medfl.secure_aggregation import (
    Attempt,
    DiskStore,
    Member,
    Roster,
    ServerAttempt,
    SiteAttempt,
    TensorLayout,
    VectorLayout,
    decode_sum,
    encode_update,
)

_MODEL = hashlib.sha256(b"a model").hexdigest()
_Result = TypeVar("_Result")


class _Attempt:
    """An attempt of all hospitals, of which the first is measured."""

    def __init__(self, sites: int, parameters: int, bits: int, folder: Path) -> None:
        keys = {f"hospital-{number:02}": ec.generate_private_key(ec.SECP384R1()) for number in range(sites)}
        self.roster = Roster(tuple(Member(name, _public(key)) for name, key in keys.items()))
        self.about = Attempt("study", "federated", "run", self.roster.digest, 1, 1)
        self.sites = {n: SiteAttempt(self.about, self.roster, n, key, DiskStore(folder / n)) for n, key in keys.items()}
        self.server = ServerAttempt(self.about, self.roster)
        self.layout = VectorLayout((TensorLayout("w", (parameters,), 1.0),), bits, sites, weight_ceiling=1000)
        self.update = {"w": np.random.default_rng(0).uniform(-1, 1, parameters).astype(np.float32)}
        self.seconds: dict[str, float] = {}
        self.sent = 0

    def run(self, dropped: int) -> None:
        """Run all stages; as many hospitals as given drop out before their masked vector."""
        names = list(self.sites)
        first, silent = names[0], names[len(names) - dropped :]
        for name in names:
            advertised = self._timed("hospital: keys and shares", name == first, self.sites[name].advertise)
            self.server.add_keys(advertised)
        keys = self._timed("server: keys and shares", True, self.server.list_keys)
        for name in names:
            shared = self._timed("hospital: keys and shares", name == first, lambda name=name: self.sites[name].share(keys))
            self.server.add_shares(shared)
            if name == first:
                self.sent += len(shared.shares) * len(shared.shares[names[1]]) + 3 * 32 + 96
        delivered = self.server.distribute_shares(_MODEL, self.layout)
        for name in (name for name in names if name not in silent):
            self._mask(name, delivered[name], name == first)
        survivors = self.server.list_survivors()
        for name in survivors:
            self.server.add_signature(self.sites[name].sign_survivors(survivors))
        signatures = self.server.list_signatures()
        for name in signatures:
            site = self.sites[name]
            given = self._timed("hospital: unmasking", name == first, lambda site=site: site.unmask(survivors, signatures))
            self.server.add_unmasking_shares(given)
        self.sent += 96 + 16 * len(names)
        total = self._timed("server: unmasking", True, self.server.unmask)
        self._timed("server: decoding", True, lambda: decode_sum(self.layout, total, len(survivors)))

    def _mask(self, name: str, shares: dict[str, bytes], measured: bool) -> None:
        counters: dict[str, int] = {}
        vector = self._timed(
            "hospital: encoding",
            measured,
            lambda: encode_update(self.layout, self.update, 500, counters, name.encode(), self.about),
        )
        site = self.sites[name]
        masked = self._timed("hospital: masking", measured, lambda: site.mask(shares, _MODEL, self.layout, vector))
        self._timed("server: adding vectors", True, lambda: self.server.add_masked_input(masked))
        if measured:
            self.sent += sum(map(len, masked.vector.parts()))

    def _timed(self, what: str, measured: bool, work: Callable[[], _Result]) -> _Result:
        started = time.process_time()
        result = work()
        if measured:
            self.seconds[what] = self.seconds.get(what, 0.0) + time.process_time() - started
        return result


def measure_memory(parameters: int, bits: int) -> float:
    """Return the peak of what a hospital of three needs to encode and mask, its update included, in float32 models."""
    with tempfile.TemporaryDirectory() as folder:
        attempt = _Attempt(3, parameters, bits, Path(folder))
        names = list(attempt.sites)
        for name in names:
            attempt.server.add_keys(attempt.sites[name].advertise())
        keys = attempt.server.list_keys()
        for name in names:
            attempt.server.add_shares(attempt.sites[name].share(keys))
        shares = attempt.server.distribute_shares(_MODEL, attempt.layout)[names[0]]
        tracemalloc.start()
        try:
            vector = encode_update(attempt.layout, attempt.update, 500, {}, b"secret", attempt.about)
            attempt.sites[names[0]].mask(shares, _MODEL, attempt.layout, vector)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    return 1 + peak / attempt.update["w"].nbytes


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parameters", type=int, default=25_000_000)
    parser.add_argument("--sites", type=int, default=8)
    parser.add_argument("--dropped", type=int, default=1, help="hospitals that drop out before their masked vector")
    given = parser.parse_args()
    for bits in (32, 16):
        with tempfile.TemporaryDirectory() as folder:
            attempt = _Attempt(given.sites, given.parameters, bits, Path(folder))
            attempt.run(given.dropped)
        memory = measure_memory(given.parameters, bits)
        print(f"{given.parameters:,} parameters, {given.sites} hospitals, {given.dropped} dropped, {bits} bits:")
        print(f"  a hospital sends {attempt.sent / given.parameters:.4f} bytes a parameter")
        print(f"  a hospital needs {memory:.2f} models of memory, its update included")
        for what, seconds in sorted(attempt.seconds.items()):
            print(f"  {what:28} {seconds:7.2f} s of processor time")


def _public(key: ec.EllipticCurvePrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


if __name__ == "__main__":
    main()
