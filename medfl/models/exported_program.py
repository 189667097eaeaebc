"""`model.pt2`: the network as a program that torch runs without the code of any network, by `torch.export`."""

from __future__ import annotations

import io
import warnings

import torch
from torch import Tensor, nn

from medfl.models.bundle_network import TOLERANCE, are_close


def export_program(net: nn.Module, images: Tensor) -> bytes | str:
    """Return the content of ``model.pt2``, or the reason why there is none, a sentence.

    Parameters
    ----------
    net : torch.nn.Module
        Network in evaluation mode, on the CPU.
    images : Tensor
        An image (1, C, X, Y[, Z]) of the size that the program takes. The number of images is free where torch allows it.

    Returns
    -------
    bytes or str
        The program, whose logits were compared with those of the network.
    """
    batch = torch.export.Dim("batch", min=1, max=1024)
    reason = "torch.export cannot export this network."
    for shapes in (({0: batch},), None):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                program = torch.export.export(
                    net, (images.repeat(2, *[1] * (images.dim() - 1)) if shapes else images,), dynamic_shapes=shapes
                )
                with torch.inference_mode():
                    is_same = are_close(program.module()(images), net(images))
                if not is_same:
                    return f"its logits differ by more than {TOLERANCE:g} from those of the network."
                content = io.BytesIO()
                torch.export.save(program, content)
                return content.getvalue()
        except Exception as error:  # torch raises many kinds for what it cannot trace
            reason = f"torch.export cannot export this network ({type(error).__name__})."
    return reason
