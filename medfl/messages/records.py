"""Records of Flower messages: the names of everything that server and sites send each other.

A message to a site holds one ArrayRecord ``arrays`` and one ConfigRecord ``config``. A reply holds one ArrayRecord ``arrays``
(training only), one MetricRecord ``metrics`` whose keys are the same in every reply of an exchange, and one ConfigRecord
``site`` that says who answers. An algorithm may add ArrayRecords of its own in both directions, such as SCAFFOLD's ``control``.
Nothing else is sent, and never a pickle.
"""

from __future__ import annotations

import hashlib
import io
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from medfl.errors import ExchangeError, explain_reason
from medfl.system.text import join_names

if TYPE_CHECKING:
    from numpy.typing import NDArray

ARRAYS, METRICS, CONFIG, SITE = "arrays", "metrics", "config", "site"

ROUND = "server-round"  # Flower's own name for it
MODEL_HASH = "model-hash"  # as of `model_hash`, which both sides compute
SPLIT = "split"  # patients that an evaluate message asks for: "validation" or "test"
RUN_FOLDER = "run-folder"  # where a simulated hospital writes what only the hospital itself may see
START = "start"  # array record to a site that is asked to join: the whole first model, where a study sends it
INITIAL = "initial"  # in the state of a ServerApp: the model to start from, if there is one already
INITIAL_FULL = "whole"  # likewise: the same model with the layers that stay at the sites, for sites that train alone
BASE, BASE_FULL = "base", "base-whole"  # likewise, where a part is trained: what completes each of the two to a network
EXCLUDED = "excluded"  # in what a site reports: cases left out, by code, as `medfl.messages.counts` writes them
ANNOTATED = "annotated"  # likewise: numbers of the foreground classes that are annotated there, empty for all
LEFT_OUT = "left-out"  # in what a simulated site reports: number of cases left out
USABLE = "usable"  # likewise: number of those that are used
PRESENT = "present"  # likewise: numbers of the classes of which it has a case
DATA_DIGEST = "data"  # likewise: hash of its cases, to know when a run is resumed whether they are the same
IMAGES = "images"  # likewise, where some hospitals are external: a hash of the voxels of each image, with commas between
RUN = "run"  # name of the run, under which a site keeps its state
TRIAL = "trial"  # in an evaluate message: the model only serves to measure contributions, and nothing of it is kept
EXCHANGE = "exchange"  # both ways: a random number of the exchange, which every reply must repeat
MODEL_ROUND = "model-round"  # in a test message: the round whose model it is
AUDIT_HEAD = "audit-head"  # both ways: the last entry of the sender's log, so that neither side can rewrite its log
PADDING = "padding"  # in what a site reports: blanks, so that the size of an answer does not depend on its numbers
POOLED = "pooled-sites"  # in a train message of a simulation: the sites whose cases are trained on in one place, with commas
OWNER = "owner"  # in a test message of the arm "local": the site whose model it is
ENSEMBLE = "ensemble-models"  # in a test message of the arm "ensemble": checkpoints in the folder of the run, with commas
ARM = "arm"  # arm of a comparison that a message belongs to
COUNTED = "counted"  # array record to a site: last round in which its reply was counted, 0 for none
CONTROL = "control"  # array record: SCAFFOLD's control variate to a site, its change back
PROXIMAL_MU = "proximal-mu"  # in the configuration: strength of FedProx's proximal term, under Flower's name

JOIN = "query.join"  # message type of the first exchange: who each site is, and what it brings
FINGERPRINT = "query.fingerprint"  # message type of the exchange before a study: what the images are like

TRAIN_PATIENTS, TRAIN_SAMPLES, TRAIN_STEPS = "train.patients", "train.samples", "train.steps"
TRAIN_LOSS, TRAIN_SECONDS = "train.loss", "train.seconds"
TRAIN_LOSS_BEFORE = "train.loss-before"  # of the received model on the training images
EVAL_PATIENTS, EVAL_LOSS, EVAL_SECONDS = "eval.patients", "eval.loss", "eval.seconds"

MetricValue = int | float | list[int] | list[float]
Metrics = dict[str, MetricValue]


def new_exchange_id() -> str:
    """Draw a random number for an exchange."""
    return secrets.token_hex(8)


def layout_hash(arrays: Mapping[str, NDArray[np.generic]]) -> str:
    """Hash the names, shapes and dtypes of the tensors of a model, in their order.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        The tensors that are exchanged.

    Returns
    -------
    str
        32 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for name, array in arrays.items():
        digest.update(f"{name}|{array.shape}|{array.dtype.str}\n".encode())
    return digest.hexdigest()[:32]


def model_hash(shared: Mapping[str, NDArray[np.generic]], frozen: Mapping[str, NDArray[np.generic]]) -> str:
    """Hash the layout of the tensors that are exchanged, and the values of those that are frozen, which never are.

    Parameters
    ----------
    shared : mapping of str to ndarray
        The tensors that are exchanged.
    frozen : mapping of str to ndarray
        The tensors that every site must have, to the last bit; empty where all are trained.

    Returns
    -------
    str
        Both hashes with a colon between them; without frozen tensors the first alone.
    """
    if not frozen:
        return layout_hash(shared)
    digest = hashlib.sha256(layout_hash(frozen).encode())
    for tensor in frozen.values():
        digest.update(np.ascontiguousarray(tensor).data)
    return f"{layout_hash(shared)}:{digest.hexdigest()[:32]}"


def to_array(tensor: NDArray[Any]) -> Array:
    """Wrap a tensor for a message: the bytes of ``Array(tensor)``, with one copy in memory instead of Flower's two."""
    tensor = np.ascontiguousarray(tensor).reshape(np.shape(tensor))
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(tensor))
    data = b"".join((header.getvalue(), tensor.data))
    return Array(dtype=str(tensor.dtype), shape=tensor.shape, stype="numpy.ndarray", data=data)


def to_array_record(arrays: Mapping[str, NDArray[np.generic]]) -> ArrayRecord:
    """Wrap named arrays for a message, in their order."""
    return ArrayRecord({name: to_array(tensor) for name, tensor in arrays.items()})


def from_array_record(record: ArrayRecord) -> dict[str, NDArray[np.generic]]:
    """Unwrap the arrays of a message, in their order; they are checked against a model where they are used."""
    return {name: array.numpy() for name, array in record.items()}


def build_reply_content(
    site: str,
    metrics: Metrics,
    arrays: Mapping[str, NDArray[np.generic]] | None = None,
    site_info: Mapping[str, str] | None = None,
    extra: Mapping[str, Mapping[str, NDArray[np.generic]]] | None = None,
) -> RecordDict:
    """Build the content of a reply.

    Parameters
    ----------
    site : str
        Name of the site.
    metrics : dict
        Numbers that may leave; the same keys from every site.
    arrays : mapping of str to ndarray, optional
        The trained tensors.
    site_info : mapping of str to str, optional
        Further short strings about the site, for example `EXCLUDED`.
    extra : mapping of str to mapping of str to ndarray, optional
        What an algorithm sends besides the model, by the name of the record.
    """
    content = RecordDict({METRICS: MetricRecord(dict(metrics)), SITE: ConfigRecord({"name": site, **(site_info or {})})})
    if arrays is not None:
        content[ARRAYS] = to_array_record(arrays)
    for name, tensors in (extra or {}).items():
        content[name] = to_array_record(tensors)
    return content


def count_bytes(content: RecordDict) -> int:
    """Count the bytes of all records of a message."""
    return sum(_config_bytes(r) if isinstance(r, ConfigRecord) else r.count_bytes() for r in content.values())


def _config_bytes(record: ConfigRecord) -> int:
    """Count as Flower does, but accept empty texts and lists, on which Flower raises."""
    values = [v for value in record.values() for v in (value if isinstance(value, list) else [value])]
    lengths = [len(v) if isinstance(v, str | bytes) else 1 if isinstance(v, bool) else 8 for v in values]
    return sum(map(len, record)) + sum(lengths)


def array_views(record: ArrayRecord) -> dict[str, NDArray[Any]]:
    """Read the arrays of a message without copying them.

    Parameters
    ----------
    record : ArrayRecord
        The arrays of the message.

    Returns
    -------
    dict of str to ndarray
        Read-only arrays over the bytes of the record.

    Raises
    ------
    ExchangeError
        ``ARRAYS-UNREADABLE`` when an array is not in NumPy's format, is cut short, or holds Python objects.
    """
    try:
        return {name: _array_view(array) for name, array in record.items()}
    except Exception:  # the bytes are untrusted, and NumPy may raise anything when it reads their header
        raise ExchangeError("ARRAYS-UNREADABLE", "an array cannot be read.", "Both sides must run the same Flower.") from None


def _array_view(array: Array) -> NDArray[Any]:
    if array.stype != "numpy.ndarray":
        raise ValueError("not a NumPy array")
    stream = io.BytesIO(array.data)  # shares the bytes
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(stream)
    count = int(np.prod(shape, dtype=object)) if shape else 1
    flat = np.frombuffer(array.data, dtype, count, stream.tell()) if count else np.empty(0, dtype)
    return flat.reshape(shape, order="F" if fortran else "C")


@dataclass(frozen=True)
class ReplyRecord:
    """Outcome of one exchange for one site.

    Parameters
    ----------
    site : str
        Name of the site, or ``node-<id>`` where no names are known.
    status : {"ok", "refused", "failed", "late", "absent"}
        The reply counted; it was left out; an error came instead; nothing came in time; the site was not connected.
    reason : str
        Why it was not counted, at most 200 characters, empty when it was.
    weight : float
        Weight of the reply, 0 when not counted.
    metrics : dict
        Metrics of the reply, empty when none could be read.
    excluded : dict of str to int
        Cases that the site left out, by code, as counts of `medfl.messages.counts`; empty where it reports none.
    """

    site: str
    status: Literal["ok", "refused", "failed", "late", "absent"]
    reason: str = ""
    weight: float = 0.0
    metrics: Metrics = field(default_factory=dict)
    excluded: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class RoundRecord:
    """Outcome of one exchange for every site.

    Parameters
    ----------
    round : int
        The round, from 1.
    replies : tuple of ReplyRecord
        One for each site, sorted by name.
    bytes_up, bytes_down : int
        Bytes of all records received from and sent to the sites.
    seconds : float
        Time from the sending to the last reply.
    """

    round: int
    replies: tuple[ReplyRecord, ...]
    bytes_up: int
    bytes_down: int
    seconds: float

    @property
    def counted(self) -> tuple[ReplyRecord, ...]:
        """The replies that were counted."""
        return tuple(r for r in self.replies if r.status == "ok")

    def reasons(self) -> str:
        """Say in one line why the others were not counted; sites with the same reason are named together, a few of many."""
        sites: dict[str, list[str]] = {}
        for reply in self.replies:
            if reply.status != "ok":
                what = f"{reply.status}, {explain_reason(reply.reason).removesuffix('.')}"
                sites.setdefault(what, []).append(reply.site)
        return "; ".join(f"{join_names(names)}: {what}" for what, names in sites.items())
