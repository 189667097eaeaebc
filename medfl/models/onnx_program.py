"""`model.onnx`: the network for programs that read ONNX, by torch's exporter, where the libraries for it are installed."""

from __future__ import annotations

import importlib.util
import io
import warnings
from contextlib import redirect_stdout

import torch
from torch import Tensor, nn

from medfl.errors import RunError
from medfl.models.bundle_network import TOLERANCE, are_close

_LIBRARIES = ("onnx", "onnxscript", "onnxruntime")
INPUT, OUTPUT = "image", "logits"


def require_onnx() -> None:
    """Raise an error when a library is missing, before the work is done.

    Raises
    ------
    RunError
        ``EXPORT-EXTRA``.
    """
    if any(importlib.util.find_spec(name) is None for name in _LIBRARIES):
        what = "the libraries that write and check ONNX are not installed."
        raise RunError("EXPORT-EXTRA", what, "Install them here: pip install 'flwr-medfl[onnx]'.")


def export_onnx(net: nn.Module, images: Tensor) -> bytes | str:
    """Return the content of ``model.onnx``, or the reason why there is none, a sentence.

    Parameters
    ----------
    net : torch.nn.Module
        Network in evaluation mode, on the CPU.
    images : Tensor
        An image (1, C, X, Y[, Z]) of the size that the model takes.

    Returns
    -------
    bytes or str
        The model with input ``image`` and output ``logits``, which ONNX Runtime ran, to compare it with the network.
    """
    import onnxruntime

    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):  # torch tells its steps
            warnings.simplefilter("ignore")
            program = torch.onnx.export(net, (images,), dynamo=True, input_names=[INPUT], output_names=[OUTPUT], verbose=False)
        if program is None:
            return "torch cannot export this network to ONNX."
        content: bytes = program.model_proto.SerializeToString()
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        (logits,) = session.run([OUTPUT], {INPUT: images.numpy()})
        with torch.inference_mode():
            is_same = are_close(torch.from_numpy(logits), net(images))
    except Exception as error:  # torch and ONNX Runtime raise many kinds for what they cannot do
        return f"torch cannot export this network to ONNX ({type(error).__name__})."
    return content if is_same else f"its logits differ by more than {TOLERANCE:g} from those of the network."
