"""Small updates at the server: wrappers that unpack what `medfl.clients.update_compression` packed.

Each is one half of a codec of `update_codecs`. They stand between the wire and all other wrappers, which see a whole model.
What an algorithm sends beside the model (SCAFFOLD's control variate) travels as it is, and so does the model to the sites.
"""

from __future__ import annotations

import dataclasses
from abc import abstractmethod

from medfl.messages import update_codecs
from medfl.messages.models import Tensors
from medfl.strategies.reply import Reply
from medfl.strategies.transforms.reply_transform import ReplyTransform


class UpdateDecoder(ReplyTransform):
    """Make a model of the update in each reply; a reply of another codec, or with wrong sizes or places, is left out."""

    def transform(self, reply: Reply) -> Reply:
        """Return the reply with the model that the site made."""
        parts = self.decode_parts(reply.arrays, reply.start)
        return dataclasses.replace(reply, arrays=update_codecs.apply_update(reply.start, parts, reply.arrays))

    @abstractmethod
    def decode_parts(self, packed: Tensors, start: Tensors) -> update_codecs.TensorParts:
        """Yield the update of each tensor, flattened, or raise ExchangeError."""


class Bf16(UpdateDecoder):
    """Half the bytes of float32: the range of float32, 8 bits of precision, rounded to nearest."""

    def decode_parts(self, packed: Tensors, start: Tensors) -> update_codecs.TensorParts:
        return update_codecs.from_bf16(packed, start)


class Int8(UpdateDecoder):
    """A quarter of the bytes: 255 even steps for each tensor, rounded at random so that the mean over sites is unbiased.

    Stochastic rounding as in QSGD (Alistarh et al. 2017, https://arxiv.org/abs/1610.02132), with even steps up to the largest
    value of each tensor.
    """

    def decode_parts(self, packed: Tensors, start: Tensors) -> update_codecs.TensorParts:
        return update_codecs.from_int8(packed, start)


class TopK(UpdateDecoder):
    """The largest changes only, 8 bytes each; what is left over stays at the site and is added to its next update.

    Sparsification with error feedback (Stich et al. 2018, https://arxiv.org/abs/1809.07599, Algorithm 1), of the update of a
    whole round in place of a gradient. A reply that is lost takes its largest changes with it, as it does without a codec.

    Parameters
    ----------
    keep : float
        Share of the values that are sent; from 0.5 on nothing is saved.
    """

    def __init__(self, keep: float = 0.01) -> None:
        if not 0 < keep <= 1:
            raise ValueError(f"keep must be above 0 and at most 1, came {keep}")
        self.keep = keep

    def decode_parts(self, packed: Tensors, start: Tensors) -> update_codecs.TensorParts:
        return update_codecs.from_top_k(packed, start, self.keep)
