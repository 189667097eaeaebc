"""What may come with a model: the records of the study's algorithm, as large as that algorithm makes them, and no others.

Whatever else a message carried would be part of its question, kept, and in part sent back. So the records of medfl's own
algorithms are checked by name, layout and size; an algorithm of another package may send records of its own, each at most as
large as the model.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, RecordDict

from medfl.errors import ExchangeError
from medfl.messages import records
from medfl.messages.models import Tensors
from medfl.privacy.questions import Item
from medfl.study import Study
from medfl.study.algorithms import ALGORITHMS

_MAX_CONFIG_BYTES = 64 * 1024  # of all numbers and texts of a message, of which medfl sends some hundred bytes
_MAX_RECORDS = 8  # of an algorithm of another package
_HEADER_BYTES = 256  # of an array in NumPy's format, which a small record consists of
_EXTRAS: Mapping[str, tuple[str, ...]] = {"scaffold": (records.CONTROL, records.COUNTED), "feddyn": (records.COUNTED,)}
_SAME = "Server and sites must run the same study and the same version of medfl."


def check_configuration(content: RecordDict) -> None:
    """Check what a message holds besides arrays, before it is read.

    Raises
    ------
    ExchangeError
        ``RECORD-UNKNOWN`` when it holds a record that no message has, or more than any message needs.
    """
    others = [(name, record) for name, record in content.items() if not isinstance(record, ArrayRecord)]
    if any(not isinstance(record, ConfigRecord) or name != records.CONFIG for name, record in others):
        raise ExchangeError("RECORD-UNKNOWN", "the message holds a record that no message of a study has.", _SAME)
    if records.count_bytes(RecordDict(dict(others))) > _MAX_CONFIG_BYTES:
        what = f"the configuration of the message is larger than {_MAX_CONFIG_BYTES} bytes."
        raise ExchangeError("RECORD-UNKNOWN", what, _SAME)


def check_extras(extras: Mapping[str, Tensors], model: Tensors, parameters: Collection[str], item: Item, study: Study) -> None:
    """Check the arrays that came with a model.

    Parameters
    ----------
    extras : mapping of str to mapping of str to ndarray
        All array records but the model.
    model : mapping of str to ndarray
        The model, of the study's layout.
    parameters : collection of str
        Names of the parameters that training changes.
    item : Item
        What is asked.
    study : Study
        The approved study.

    Raises
    ------
    ExchangeError
        ``RECORD-UNKNOWN`` when the study's algorithm sends no such record, or none of this size; ``RECORD-MISSING`` when one
        is lacking; ``CONTROL-MISMATCH`` when SCAFFOLD's control variate is not of the model's layout.
    """
    name = study.strategy.name
    if name not in ALGORITHMS:
        _check_foreign(extras, model)
        return
    is_common_training = item.kind == "train" and item.arm == "federated"  # the other arms train plainly
    expected = _EXTRAS.get(name, ()) if is_common_training else ()
    if unknown := set(extras) - set(expected):
        what = f"{len(unknown)} records came with the model that {name!r} does not send for {item.kind}."
        raise ExchangeError("RECORD-UNKNOWN", what, _SAME)
    if missing := [record for record in expected if record not in extras]:
        raise ExchangeError("RECORD-MISSING", f"the server sent no record {missing[0]!r} with the model.", _SAME)
    if records.COUNTED in expected:
        _check_counted(extras[records.COUNTED])
    if records.CONTROL in expected:
        _check_control(extras[records.CONTROL], model, parameters)


def _check_foreign(extras: Mapping[str, Tensors], model: Tensors) -> None:
    limit = _HEADER_BYTES + _count_bytes(model)
    if len(extras) > _MAX_RECORDS or any(_count_bytes(tensors) > limit for tensors in extras.values()):
        what = f"more than {_MAX_RECORDS} records came with the model, or one that is larger than it."
        raise ExchangeError("RECORD-UNKNOWN", what, _SAME)


def _count_bytes(tensors: Tensors) -> int:
    return sum(len(name) + tensor.nbytes for name, tensor in tensors.items())


def _check_counted(counted: Tensors) -> None:
    """Check that it is one whole number: the round whose reply was counted last."""
    number = counted.get(records.ROUND)
    if len(counted) != 1 or number is None or number.shape or number.dtype.kind not in "iu":
        raise ExchangeError("RECORD-UNKNOWN", f"the record {records.COUNTED!r} is not one whole number.", _SAME)


def _check_control(control: Tensors, model: Tensors, parameters: Collection[str]) -> None:
    """Check that there is a tensor for each parameter that is exchanged, and none but for tensors of the model.

    A server knows buffers by their names alone, so it may send a tensor for one as well.
    """
    layout = {name: (x.shape, np.result_type(x.dtype, np.float32)) for name, x in model.items() if x.dtype.kind == "f"}
    fits = all(layout.get(name) == (tensor.shape, tensor.dtype) for name, tensor in control.items())
    if not fits or any(name in model and name not in control for name in parameters):
        raise ExchangeError("CONTROL-MISMATCH", "the received control variate does not fit the model.", _SAME)
