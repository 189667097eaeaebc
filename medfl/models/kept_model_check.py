"""Check of a model that a hospital keeps: whether it is what the federation's server sent, to the last bit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.x509.oid import NameOID

from medfl.errors import ExchangeError, RunError
from medfl.grids.packing import pack
from medfl.messages.digests import digest_record
from medfl.messages.message_proof import MessageProof
from medfl.messages.models import Tensors
from medfl.messages.records import ARM, ARRAYS, MODEL_ROUND, SPLIT, to_array_record
from medfl.runs.kept_models import KeptModel
from medfl.runs.low_rank_arrays import merge_low_rank
from medfl.runs.model_file import ModelFile, read_model_file

Standing = Literal["signed", "other-authority", "own", "unsigned", "changed", "other-rest", "no-start", "not-kept"]

_AUTHORITY = " authority"  # how the name of a federation's authority ends: medfl.deploy.ca


@dataclass(frozen=True)
class KeptModelCheck:
    """What a check found.

    Parameters
    ----------
    standing : {"signed", "other-authority", "own", "unsigned", "changed", "other-rest", "no-start", "not-kept"}
        Signed by the server of the site's federation; by that of one whose authority is no longer the site's; the site's own
        model, which no server signed; sent without a signature; changed since, or of unknown origin; signed as a part, in a
        network that differs from what this software makes of it; signed as a part, and the first model that completes it is
        not here any more; there is a receipt alone.
    federation : str
        Name of the federation, where a server signed it.
    """

    standing: Standing
    federation: str = ""


def check_kept_model(model: KeptModel, authority: bytes | None, store: Path) -> KeptModelCheck:
    """Check a kept model, its study and its receipt against each other and against what the server signed.

    Parameters
    ----------
    model : KeptModel
        The model.
    authority : bytes, optional
        Certificate of the authority that the site trusts now, PEM; None for a site of no federation.
    store : Path
        The site's own folder of the store, where the first model lies of a study that sent it.
    """
    if not model.is_there:
        return KeptModelCheck("not-kept")
    try:
        file = read_model_file(model.path)
    except RunError:
        return KeptModelCheck("changed")
    if file.digest != model.sha256 or file.study_hash != model.study_hash:
        return KeptModelCheck("changed")
    if model.which == "personal":
        return KeptModelCheck("own")
    return _check_proof(model, file, authority, store) if model.proof else KeptModelCheck("unsigned")


def _check_proof(model: KeptModel, file: ModelFile, authority: bytes | None, store: Path) -> KeptModelCheck:
    try:
        proof = MessageProof.from_json(model.proof or {})
        statement, settings = proof.statement(), proof.settings()
    except ValueError:
        return KeptModelCheck("changed")
    if statement is None or (statement.study, statement.run) != (file.study_hash, model.run):
        return KeptModelCheck("changed")
    is_chosen = settings.get(SPLIT) == "test" and settings.get(ARM, "") != "local"
    if not is_chosen or settings.get(MODEL_ROUND) != file.about.get("round") or model.round != file.about.get("round"):
        return KeptModelCheck("changed")
    came = file.arrays if file.sent is None else file.sent
    if not any(digest == proof.message.digests.get(ARRAYS) for digest in _digests(came)):
        return KeptModelCheck("changed")
    if file.study.training.tunes_part != (file.sent is not None):
        return KeptModelCheck("changed")
    if file.sent is not None and (fault := _find_other_rest(file, file.sent, store)):
        return KeptModelCheck(fault)
    return KeptModelCheck("signed" if proof.authority == authority else "other-authority", _federation(proof.authority))


def _find_other_rest(file: ModelFile, sent: Tensors, store: Path) -> Standing | None:
    """Return why a model is not what the server sent of it, in the network that the study begins with; None when it is."""
    from medfl.clients.start.initial_layers import initial_kept_layers  # imports torch and MONAI, which take seconds
    from medfl.clients.start.kept_start import start_in

    start = start_in(file.study, store) if file.study.sends_start else None
    try:
        kept = initial_kept_layers(file.study, start=start)
    except ExchangeError:
        return "no-start"
    whole = merge_low_rank(file.study, {**kept, **sent})
    is_same = whole.keys() == file.arrays.keys() and all(whole[n].tobytes() == x.tobytes() for n, x in file.arrays.items())
    return None if is_same else "other-rest"


def _digests(arrays: Tensors) -> Iterator[str]:
    """Yield the digest of the arrays as a message holds them, and as it holds them packed."""
    record = to_array_record(arrays)
    yield digest_record(record)
    yield digest_record(pack(record))


def _federation(authority: bytes) -> str:
    names = x509.load_pem_x509_certificate(authority).subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value).removesuffix(_AUTHORITY) if names else ""
