"""A small federation for tests: sites with real keys and stores, a server, and sites that drop out at any stage."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from medfl.secure_aggregation import (
    Attempt,
    Member,
    MemoryStore,
    ModularVector,
    Roster,
    ServerAttempt,
    SiteAttempt,
    SiteStore,
    TensorLayout,
    VectorLayout,
)
from medfl.secure_aggregation.messages import KeyList

MODEL = hashlib.sha256(b"the model of round 1").hexdigest()
OTHER_MODEL = hashlib.sha256(b"another model").hexdigest()
STAGES = ("keys", "shares", "input", "signature", "unmasking")


@functools.cache
def enrolled_key(name: str) -> ec.EllipticCurvePrivateKey:
    """Return the key of a site, the same one in every test."""
    del name
    return ec.generate_private_key(ec.SECP384R1())


def public_text(key: ec.EllipticCurvePrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def names_of(sites: int) -> list[str]:
    return [f"site-{number:02}" for number in range(sites)]


@functools.cache
def _roster(names: tuple[str, ...], server_may_lie: bool) -> Roster:
    return Roster(tuple(Member(name, public_text(enrolled_key(name))) for name in names), server_may_lie)


def make_roster(names: Iterable[str], server_may_lie: bool = True) -> Roster:
    return _roster(tuple(names), server_may_lie)


def copy_store(store: MemoryStore) -> MemoryStore:
    """Return a store that goes its own way from here on."""
    copied = MemoryStore()
    for name in ("_states", "_vectors", "_releases"):
        setattr(copied, name, dict(getattr(store, name)))
    return copied


def small_layout(sites: int, bits: int = 32, size: int = 5) -> VectorLayout:
    return VectorLayout((TensorLayout("w", (size,), 1.0),), bits, sites, weight_ceiling=100)


def vector_of(name: str, layout: VectorLayout) -> ModularVector:
    """Return the vector of a site: any integers, the same for every call."""
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big"))
    parameters = rng.integers(0, 1 << layout.bits, layout.size, np.uint64).astype(layout.dtype)
    return ModularVector(parameters, rng.integers(0, 1 << 60, len(layout.all_counters), np.uint64))


def sum_of(names: Iterable[str], layout: VectorLayout) -> ModularVector:
    vectors = [vector_of(name, layout) for name in names]
    parameters = sum((vector.parameters.astype(np.uint64) for vector in vectors), np.uint64(0))
    counters = functools.reduce(np.add, (vector.counters for vector in vectors))
    return ModularVector((parameters % np.uint64(1 << layout.bits)).astype(layout.dtype), counters)


def same(one: ModularVector, other: ModularVector) -> bool:
    return np.array_equal(one.parameters, other.parameters) and np.array_equal(one.counters, other.counters)


@dataclass
class Federation:
    """One attempt, driven stage by stage; a site drops out at the stage that `drops` gives, and is silent from there on."""

    names: list[str]
    server_may_lie: bool = True
    model: str = MODEL
    stores: Mapping[str, SiteStore] | None = None
    drops: Mapping[str, str] = field(default_factory=dict)
    layout: VectorLayout | None = None
    vector: Callable[[str, VectorLayout], ModularVector] = vector_of
    fields: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.roster = make_roster(self.names, self.server_may_lie)
        about = {"study": "study", "arm": "federated", "run": "run", "round": 1, "number": 1} | self.fields
        self.attempt = Attempt(roster=self.roster.digest, **about)
        self.server = ServerAttempt(self.attempt, self.roster)
        self.layout = self.layout or small_layout(len(self.names))
        self.stores = self.stores or {name: MemoryStore() for name in self.names}
        self.sites = {name: self.restart(name) for name in self.names}
        self.keys: KeyList = ()
        self.masked: dict[str, ModularVector] = {}
        self.deliveries: dict[str, dict[str, bytes]] = {}
        self.released: dict[str, Any] = {}

    def restart(self, name: str) -> SiteAttempt:
        return SiteAttempt(self.attempt, self.roster, name, enrolled_key(name), self.stores[name])

    def here(self, stage: str) -> list[str]:
        at = STAGES.index(stage)
        return [name for name in self.names if STAGES.index(self.drops.get(name, "unmasking")) > at or name not in self.drops]

    def exchange_keys(self) -> KeyList:
        for name in self.here("keys"):
            self.server.add_keys(self.sites[name].advertise())
        self.keys = self.server.list_keys()
        return self.keys

    def exchange_shares(self) -> dict[str, dict[str, bytes]]:
        keys = self.exchange_keys()
        for name in self.here("shares"):
            self.server.add_shares(self.sites[name].share(keys))
        self.deliveries = self.server.distribute_shares(self.model, self.layout)
        return self.deliveries

    def send_input(self, name: str, model: str | None = None) -> Any:
        vector = self.vector(name, self.layout)
        return self.sites[name].mask(self.deliveries[name], model or self.model, self.layout, vector)

    def exchange_inputs(self) -> tuple[str, ...]:
        self.exchange_shares()
        for name in self.here("input"):
            masked = self.send_input(name)
            self.masked[name] = masked.vector
            self.server.add_masked_input(masked)
        return self.server.list_survivors()

    def exchange_signatures(self) -> dict[str, bytes]:
        survivors = self.exchange_inputs()
        for name in self.here("signature"):
            self.server.add_signature(self.sites[name].sign_survivors(survivors))
        return self.server.list_signatures()

    def open_sum(self) -> ModularVector:
        signatures = self.exchange_signatures()
        for name in self.here("unmasking"):
            if name in signatures:
                self.released[name] = self.sites[name].unmask(self.server.survivors, signatures)
                self.server.add_unmasking_shares(self.released[name])
        return self.server.unmask()
