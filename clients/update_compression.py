"""Compression of updates at the site: its change to the model, packed by the codec of the study, replaces the trained model."""

from __future__ import annotations

import dataclasses

from medfl.clients.training.seeds import spawn_seed
from medfl.clients.training.task import TrainResult, TrainTask
from medfl.messages import update_codecs

_STATE_NAME, _RESIDUAL_KEY = "residual", "update"
_ROUNDING_STREAM = 300  # number of its stream of random numbers


def compress(task: TrainTask, result: TrainResult) -> TrainResult:
    """Return the result with a compressed update instead of the model; in other arms than "federated", the result as it is.

    With "top-k", values that are not sent are kept in the site's state and added to its next update (error feedback), so that
    over all rounds the sent values and the kept residual add up to what was trained.

    Parameters
    ----------
    task : TrainTask
        Its study names the codec; the update is the change to its `received`.
    result : TrainResult
        What would leave without a codec: its `arrays` hold no local layers.
    """
    codec = task.study.compression.codec
    if codec == "none" or task.arm != "federated":
        return result
    received = {name: task.received[name] for name in result.arrays}
    update = update_codecs.diff(result.arrays, received)
    if codec == "bf16":
        packed = update_codecs.to_bf16(update)
    elif codec == "int8":
        packed = update_codecs.to_int8(update, received, spawn_seed(task.seed, _ROUNDING_STREAM))
    else:
        if earlier := task.state.load(_STATE_NAME):
            update += earlier[_RESIDUAL_KEY]
        packed = update_codecs.to_top_k(update, task.study.compression.keep)
        update[packed[update_codecs.TOP_K]] -= packed[update_codecs.VALUES]
        task.state.save(_STATE_NAME, {_RESIDUAL_KEY: update})
    whole = {name: tensor for name, tensor in result.arrays.items() if tensor.dtype.kind != "f"}
    return dataclasses.replace(result, arrays=packed | whole)
