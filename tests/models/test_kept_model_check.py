"""A kept model is what the server signed, to the last bit, or the list says that it is not."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, RecordDict

from medfl.clients.networks.arrays import get_arrays
from medfl.clients.networks.layers import shared_names
from medfl.clients.networks.network_builders import build_network
from medfl.clients.networks.tuning import build_training_network
from medfl.clients.start import kept_start
from medfl.clients.start.initial_layers import initial_kept_layers
from medfl.clients.start.kept_start import start_in
from medfl.grids.packing import pack_content
from medfl.messages import records
from medfl.messages.array_digest import digest_arrays
from medfl.messages.message_proof import proof_state, read_proof
from medfl.messages.signatures import SIGNATURE, SignedMessage, digest_content
from medfl.models.kept_model_check import KeptModelCheck, check_kept_model
from medfl.runs.kept_models import KeptModel, list_kept, write_kept
from medfl.runs.low_rank_arrays import merge_low_rank
from medfl.runs.model_file import model_file_bytes
from medfl.study import Study
from medfl.testing.sites import make_study
from tests.messages.signing import Authority

STUDY = make_study()
HASH = STUDY.approved_hash()
ARRAYS = {"z.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "a.count": np.array(3), "m.bias": np.zeros(2, np.float64)}
CONFIG = {records.SPLIT: "test", records.ARM: "federated", records.ROUND: 4, records.RUN: "run-1", records.MODEL_ROUND: 3}
NOWHERE = Path("no-store")  # of models that are exchanged whole
SIGNED, CHANGED = KeptModelCheck("signed", "test"), KeptModelCheck("changed")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def keep(authority: Authority, tmp_path: Path) -> Callable[..., KeptModel]:
    """Return a function that keeps a model as it came in a test message; its arguments change what the server signed."""

    def keep(
        config: dict[str, Any] | None = None, *, packed: bool = True, study: str = HASH, run: str = "run-1", days: float = 1.0
    ) -> KeptModel:
        content = RecordDict({records.ARRAYS: records.to_array_record(ARRAYS), records.CONFIG: ConfigRecord(config or CONFIG)})
        content = pack_content(content) if packed else content
        message = SignedMessage(7, "evaluate", 2**63 + 5, digest_content(content))
        content[SIGNATURE] = authority.signer(run, study, days=days).sign(message)
        proof = read_proof(proof_state(message, content, authority.ca))
        assert proof is not None
        model = KeptModel(STUDY.name, HASH, "run-1", "shared", 3, {"score": 0.8, "patients": 4}, proof.to_json())
        return write_kept(tmp_path / "models", STUDY, ARRAYS, model)

    return keep


def put(model: KeptModel, content: bytes) -> KeptModel:
    """Put another file in place of a kept model, with a receipt that has its hash."""
    model.path.write_bytes(content)
    receipt = json.loads(model.path.with_suffix(".json").read_bytes())
    receipt["sha256"] = hashlib.sha256(content).hexdigest()
    model.path.with_suffix(".json").write_text(json.dumps(receipt))
    (found,) = list_kept(model.path.parents[2])
    return found


@pytest.mark.parametrize("packed", [True, False])
def test_what_the_server_signed_is_signed(keep: Callable[..., KeptModel], authority: Authority, packed: bool) -> None:
    model = keep(packed=packed)
    (listed,) = list_kept(model.path.parents[2])
    assert check_kept_model(listed, authority.ca, NOWHERE) == SIGNED


def test_it_stays_signed_when_the_key_of_the_run_has_expired(keep: Callable[..., KeptModel], authority: Authority) -> None:
    assert check_kept_model(keep(days=-1.0), authority.ca, NOWHERE) == SIGNED


def test_an_authority_that_the_site_replaced_is_named(keep: Callable[..., KeptModel], tmp_path: Path) -> None:
    model, other = keep(), Authority.make(tmp_path / "other")
    assert check_kept_model(model, other.ca, NOWHERE) == KeptModelCheck("other-authority", "test")
    assert check_kept_model(model, None, NOWHERE) == KeptModelCheck("other-authority", "test")


def other_study() -> Study:
    return STUDY.model_copy(update={"rounds": STUDY.rounds + 1})


ABOUT = {"arm": "federated", "site": "", "round": 3}
OTHERS: dict[str, Callable[[], bytes]] = {
    "weights": lambda: model_file_bytes(STUDY, ARRAYS | {"a.count": np.array(4)}, ABOUT),
    "one bit of a zero": lambda: model_file_bytes(STUDY, ARRAYS | {"m.bias": np.array([0.0, -0.0])}, ABOUT),
    "type": lambda: model_file_bytes(STUDY, ARRAYS | {"m.bias": np.zeros(2, np.float32)}, ABOUT),
    "order": lambda: model_file_bytes(STUDY, dict(reversed(ARRAYS.items())), ABOUT),
    "study": lambda: model_file_bytes(other_study(), ARRAYS, ABOUT),
    "round": lambda: model_file_bytes(STUDY, ARRAYS, ABOUT | {"round": 2}),
    "no round": lambda: model_file_bytes(STUDY, ARRAYS, {"arm": "federated", "site": ""}),
    "no model": lambda: b"PATIENT",
    "nothing": lambda: b"",
}


@pytest.mark.parametrize("what", list(OTHERS))
def test_another_file_is_found_also_with_a_receipt_to_match(
    keep: Callable[..., KeptModel], authority: Authority, what: str
) -> None:
    assert check_kept_model(put(keep(), OTHERS[what]()), authority.ca, NOWHERE) == CHANGED


def test_a_file_that_differs_in_a_byte_is_found(keep: Callable[..., KeptModel], authority: Authority) -> None:
    model = keep()
    model.path.write_bytes(model.path.read_bytes()[:-1] + b"\x01")
    assert check_kept_model(model, authority.ca, NOWHERE) == CHANGED


@pytest.mark.parametrize(
    "signed",
    [
        {"study": "c" * 64},
        {"run": "run-2"},
        {"config": CONFIG | {records.SPLIT: "validation"}},
        {"config": CONFIG | {records.ARM: "local"}},
        {"config": CONFIG | {records.MODEL_ROUND: 2}},
    ],
    ids=str,
)
def test_what_the_server_signed_for_something_else_is_not_this_model(
    keep: Callable[..., KeptModel], authority: Authority, signed: dict[str, Any]
) -> None:
    assert check_kept_model(keep(**signed), authority.ca, NOWHERE) == CHANGED


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("proof", "config"), '{"model-round":3}'),
        (("proof", "signature", "signature"), "00" * 64),
        (("proof", "message", "node"), 6),
        (("proof", "message", "records"), {}),
        (("proof", "authority"), "no certificate"),
        (("proof", "signature"), None),
        (("study_hash",), "d" * 64),
        (("run",), "run-2"),
        (("round",), 2),
        (("which",), 3),
        (("sha256",), ""),
    ],
    ids=str,
)
def test_a_changed_receipt_is_found(
    keep: Callable[..., KeptModel], authority: Authority, path: tuple[str, ...], value: object
) -> None:
    model = keep()
    receipt = json.loads(model.path.with_suffix(".json").read_bytes())
    table = receipt
    for key in path[:-1]:
        table = table[key]
    table[path[-1]] = value
    model.path.with_suffix(".json").write_text(json.dumps(receipt))
    (found,) = list_kept(model.path.parents[2])
    assert check_kept_model(found, authority.ca, NOWHERE) == CHANGED


@pytest.mark.parametrize("receipt", [None, "no JSON", "[]", '{"study": "x", "study_hash": "y", "run": "z"}'])
def test_a_model_without_its_receipt_is_of_unknown_origin(
    keep: Callable[..., KeptModel], authority: Authority, receipt: str | None
) -> None:
    model = keep()
    file = model.path.with_suffix(".json")
    file.unlink() if receipt is None else file.write_text(receipt)
    (found,) = list_kept(model.path.parents[2])
    assert (found.study, found.run, found.path) == (STUDY.name, "run-1", model.path)
    assert check_kept_model(found, authority.ca, NOWHERE) == CHANGED


def test_a_receipt_alone_tells_of_a_model_that_could_not_be_kept(keep: Callable[..., KeptModel], authority: Authority) -> None:
    model = keep()
    model.path.unlink()
    assert check_kept_model(model, authority.ca, NOWHERE).standing == "not-kept"


def test_who_signed_nothing_is_told(tmp_path: Path, authority: Authority) -> None:
    unsigned = write_kept(tmp_path, STUDY, ARRAYS, KeptModel(STUDY.name, HASH, "run-1", "shared"))
    own = write_kept(tmp_path, STUDY, ARRAYS, KeptModel(STUDY.name, HASH, "run-1", "personal"), "hospital-a")
    assert check_kept_model(unsigned, authority.ca, NOWHERE) == KeptModelCheck("unsigned")
    assert check_kept_model(own, authority.ca, NOWHERE) == KeptModelCheck("own")
    assert check_kept_model(dataclasses.replace(own, sha256="0" * 64), authority.ca, NOWHERE) == CHANGED


PART: dict[str, Any] = {"training": {"tune": "lora", "lora-rank": 2}, "network": {"name": "unet", "channels": "4,8"}}


@pytest.mark.parametrize(
    ("what", "standing", "begun"),
    [
        *[("", "signed", False), ("frozen", "other-rest", False), ("merged", "other-rest", False)],
        *[("", "signed", True), ("frozen", "other-rest", True), ("no start", "no-start", True)],
    ],
)
def test_a_weight_of_a_model_of_a_part_that_was_tampered_with_is_found(
    authority: Authority, tmp_path: Path, what: str, standing: str, begun: bool
) -> None:
    first = {name: x + np.float32(0.5) for name, x in get_arrays(build_network(make_study(**PART))).items()} if begun else {}
    start = {"start": {"file": "w.pt", "sha256": "1" * 64, "arrays": digest_arrays(first)}} if begun else {}
    study = make_study(**PART, **start)
    if begun and what != "no start":
        start_in(study, tmp_path / "store").save(first)
    names = shared_names(study, net := build_training_network(study))
    arrays = get_arrays(net) | first
    sent = {name: arrays[name] + np.float32(0.1) for name in names}
    whole = merge_low_rank(study, {**arrays, **sent})
    updated = f"{names[0].removesuffix('lora_B')}weight"
    name = {"frozen": f"{updated.removesuffix('weight')}bias", "merged": updated}.get(what)
    if name:
        whole[name] = np.nextafter(whole[name], np.float32(np.inf))
    content = RecordDict({records.ARRAYS: records.to_array_record(sent), records.CONFIG: ConfigRecord(CONFIG)})
    message = SignedMessage(7, "evaluate", 2**63 + 5, digest_content(content))
    content[SIGNATURE] = authority.signer("run-1", study.approved_hash()).sign(message)
    proof = read_proof(proof_state(message, content, authority.ca))
    assert proof is not None
    receipt = KeptModel(study.name, study.approved_hash(), "run-1", "shared", 3, {}, proof.to_json())
    model = write_kept(tmp_path / "models", study, whole, receipt, sent=sent)
    kept_start._load.cache_clear()
    initial_kept_layers.cache_clear()
    assert check_kept_model(model, authority.ca, tmp_path / "store").standing == standing
