"""The message contract: what server and hospitals put into Flower messages, and under which names.

A message to a hospital holds one ArrayRecord ``arrays`` and one ConfigRecord ``config``. A reply holds one ArrayRecord
``arrays`` (training only), one MetricRecord ``metrics`` whose keys are the same in every reply of an exchange, and one
ConfigRecord ``site`` that says who answers. Nothing else, and never a pickle.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict

from medfl.errors import ExchangeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

ARRAYS, METRICS, CONFIG, SITE = "arrays", "metrics", "config", "site"

ROUND = "server-round"  # Flower's own name for it
MODEL_HASH = "model-hash"  # of names, shapes and dtypes: both sides check it
SPLIT = "split"  # which patients an evaluate message is about: "validation" or "test"
RUN_FOLDER = "run-folder"  # where a simulated hospital leaves what is for its own eyes
ARM = "arm"  # which arm of a comparison a message belongs to

JOIN = "query.join"  # message type of the first exchange: who is there, and with what

TRAIN_PATIENTS, TRAIN_SAMPLES, TRAIN_STEPS = "train.patients", "train.samples", "train.steps"
TRAIN_LOSS, TRAIN_SECONDS = "train.loss", "train.seconds"
EVAL_PATIENTS, EVAL_LOSS, EVAL_SECONDS = "eval.patients", "eval.loss", "eval.seconds"

MetricValue = int | float | list[int] | list[float]
Metrics = dict[str, MetricValue]


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


def to_array_record(arrays: Mapping[str, NDArray[np.generic]]) -> ArrayRecord:
    """Wrap named arrays for a message, in their order."""
    return ArrayRecord({name: Array(np.ascontiguousarray(a).reshape(np.shape(a))) for name, a in arrays.items()})


def from_array_record(record: ArrayRecord, expected: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
    """Unwrap the arrays of a message and check them against the model that is expected.

    Parameters
    ----------
    record : ArrayRecord
        The arrays as they came.
    expected : mapping of str to ndarray
        The model's own tensors: names, order, shapes and dtypes must agree.

    Returns
    -------
    dict of str to ndarray
        The arrays, in the order of `expected`.

    Raises
    ------
    ExchangeError
        ``MODEL-MISMATCH`` when any name, shape or dtype differs.
    """
    arrays = {name: array.numpy() for name, array in record.items()}
    if layout_hash(arrays) != layout_hash(expected):
        raise ExchangeError(
            "MODEL-MISMATCH",
            f"the received model has {len(arrays)} tensors that differ in name, order, shape or type from the "
            f"{len(expected)} of the network in the study.",
            "Both sides must run the same study and the same version of medfl and MONAI.",
        )
    return arrays


def site_name(reply: Message) -> str:
    """Return the name of the site that wrote a reply, empty if it does not say."""
    if reply.has_error() or SITE not in reply.content.config_records:
        return ""
    return str(reply.content.config_records[SITE].get("name", ""))


def reply_content(
    site: str, metrics: Metrics, arrays: Mapping[str, NDArray[np.generic]] | None = None, **told: str
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
    **told : str
        Further short strings about the site, for example the counts of excluded cases by code.
    """
    content = RecordDict({METRICS: MetricRecord(dict(metrics)), SITE: ConfigRecord({"name": site, **told})})
    if arrays is not None:
        content[ARRAYS] = to_array_record(arrays)
    return content


def metrics_of(content: RecordDict) -> Metrics:
    """Return the metrics of a reply as a plain dictionary."""
    return dict(content.metric_records[METRICS].items())


def counts_to_text(counts: Mapping[str, int]) -> str:
    """Write counts by code as one string, for a ConfigRecord.

    Examples
    --------
    >>> counts_to_text({"LBL-EMPTY": 2, "DCM-SPACING": 1})
    'DCM-SPACING=1,LBL-EMPTY=2'
    """
    return ",".join(f"{code}={counts[code]}" for code in sorted(counts))


def counts_from_text(text: str) -> dict[str, int]:
    """Read counts by code as `counts_to_text` wrote them."""
    pairs: Sequence[str] = [p for p in text.split(",") if p]
    return {code: int(n) for code, n in (p.split("=", 1) for p in pairs)}
