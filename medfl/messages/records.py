"""The message contract: what server and hospitals put into Flower messages, and under which names.

A message to a hospital holds one ArrayRecord ``arrays`` and one ConfigRecord ``config``. A reply holds one ArrayRecord
``arrays`` (training only), one MetricRecord ``metrics`` whose keys are the same in every reply of an exchange, and one
ConfigRecord ``site`` that says who answers. An algorithm may add ArrayRecords of its own, as SCAFFOLD's ``control``, each way.
Nothing else, and never a pickle.
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

from medfl.errors import ExchangeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

ARRAYS, METRICS, CONFIG, SITE = "arrays", "metrics", "config", "site"

ROUND = "server-round"  # Flower's own name for it
MODEL_HASH = "model-hash"  # of names, shapes and dtypes: both sides check it
SPLIT = "split"  # which patients an evaluate message is about: "validation" or "test"
RUN_FOLDER = "run-folder"  # where a simulated hospital leaves what is for its own eyes
INITIAL = "initial"  # in the state of a ServerApp: the model to start from, if somebody made it already
INITIAL_FULL = "whole"  # beside it: the same with the layers that stay at the sites, for hospitals that train alone
EXCLUDED = "excluded"  # in what a site tells of itself: cases left out by code, as `medfl.messages.counts` writes them
ANNOTATED = "annotated"  # likewise: numbers of the foreground classes that somebody looked for there, empty for all
RUN = "run"  # name of the run, under which a site keeps what it must remember
TRIAL = "trial"  # in an evaluate message: the model is one of many that are weighed up, and nothing to be kept
EXCHANGE = "exchange"  # each way: a number that the server draws for every exchange, and that a reply to it must repeat
AUDIT_HEAD = "audit-head"  # each way: last link of the sender's chain of exchanges, so that neither side can rewrite its past
ARM = "arm"  # which arm of a comparison a message belongs to
COUNTED = "counted"  # array record to a site: number of the last round in which its reply was counted, 0 for none
CONTROL = "control"  # array record each way: SCAFFOLD's control variate, and its change
PROXIMAL_MU = "proximal-mu"  # in the configuration: strength of FedProx's spring, under Flower's own name

JOIN = "query.join"  # message type of the first exchange: who is there, and with what
FINGERPRINT = "query.fingerprint"  # message type of the exchange before a study: what its images are like, in sums

TRAIN_PATIENTS, TRAIN_SAMPLES, TRAIN_STEPS = "train.patients", "train.samples", "train.steps"
TRAIN_LOSS, TRAIN_SECONDS = "train.loss", "train.seconds"
TRAIN_LOSS_BEFORE = "train.loss-before"  # of the received model on the training images
EVAL_PATIENTS, EVAL_LOSS, EVAL_SECONDS = "eval.patients", "eval.loss", "eval.seconds"

MetricValue = int | float | list[int] | list[float]
Metrics = dict[str, MetricValue]


def new_exchange_id() -> str:
    """Draw the number of an exchange."""
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


def to_array(tensor: NDArray[Any]) -> Array:
    """Wrap a tensor for a message: the bytes of ``Array(tensor)``, with one copy in memory where Flower makes two."""
    tensor = np.ascontiguousarray(tensor).reshape(np.shape(tensor))
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(tensor))
    data = b"".join((header.getvalue(), tensor.data))
    return Array(dtype=str(tensor.dtype), shape=tensor.shape, stype="numpy.ndarray", data=data)


def to_array_record(arrays: Mapping[str, NDArray[np.generic]]) -> ArrayRecord:
    """Wrap named arrays for a message, in their order."""
    return ArrayRecord({name: to_array(tensor) for name, tensor in arrays.items()})


def from_array_record(record: ArrayRecord) -> dict[str, NDArray[np.generic]]:
    """Unwrap the arrays of a message, in their order; whether they fit a model is checked where they are used."""
    return {name: array.numpy() for name, array in record.items()}


def build_reply_content(
    site: str,
    metrics: Metrics,
    arrays: Mapping[str, NDArray[np.generic]] | None = None,
    told: Mapping[str, str] | None = None,
    further: Mapping[str, Mapping[str, NDArray[np.generic]]] | None = None,
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
    told : mapping of str to str, optional
        Further short strings about the site, for example `EXCLUDED`.
    further : mapping of str to mapping of str to ndarray, optional
        What an algorithm sends beside the model, by the name of the record.
    """
    content = RecordDict({METRICS: MetricRecord(dict(metrics)), SITE: ConfigRecord({"name": site, **(told or {})})})
    if arrays is not None:
        content[ARRAYS] = to_array_record(arrays)
    for name, tensors in (further or {}).items():
        content[name] = to_array_record(tensors)
    return content


def count_bytes(content: RecordDict) -> int:
    """Count the bytes of all records of a message."""
    return sum(_config_bytes(r) if isinstance(r, ConfigRecord) else r.count_bytes() for r in content.values())


def _config_bytes(record: ConfigRecord) -> int:
    """Count as Flower does, which raises on an empty text or list; a reply may hold one."""
    values = [v for value in record.values() for v in (value if isinstance(value, list) else [value])]
    lengths = [len(v) if isinstance(v, str | bytes) else 1 if isinstance(v, bool) else 8 for v in values]
    return sum(map(len, record)) + sum(lengths)


def array_views(record: ArrayRecord) -> dict[str, NDArray[Any]]:
    """Read the arrays of a message without copying them.

    Parameters
    ----------
    record : ArrayRecord
        The arrays as they came.

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
    except Exception:  # the bytes are a stranger's, and NumPy's reading of their header may end in any error
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
    """What became of one hospital in one exchange.

    Parameters
    ----------
    site : str
        Name of the site, or ``node-<id>`` where no names are known.
    status : {"ok", "refused", "failed", "late", "absent"}
        Counted; came but was left out; an error came instead; nothing came before the deadline; was not connected, nor asked.
    reason : str
        Why it was not counted, at most 200 characters, empty when it was.
    weight : float
        Weight of the reply, 0 when not counted.
    metrics : dict
        Its metrics, empty when none could be read.
    excluded : dict of str to int
        Cases that the site left out, by code, as `medfl.messages.counts` tells counts; empty where it tells of none.
    """

    site: str
    status: Literal["ok", "refused", "failed", "late", "absent"]
    reason: str = ""
    weight: float = 0.0
    metrics: Metrics = field(default_factory=dict)
    excluded: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class RoundRecord:
    """What became of every hospital that was asked in one exchange.

    Parameters
    ----------
    round : int
        The round, from 1.
    replies : tuple of ReplyRecord
        One a site, sorted by name.
    bytes_up, bytes_down : int
        Bytes of all records received from and sent to the sites.
    seconds : float
        From the sending to the last reply folded.
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
        """Say in one line why the others were not counted."""
        return "; ".join(f"{r.site}: {r.status}, {r.reason}" for r in self.replies if r.status != "ok")
