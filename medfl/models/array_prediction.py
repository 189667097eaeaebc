"""Prediction of an image in memory: in as libraries of images give it, out on the same axes, so that no axis is mixed up."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from medfl.clients.training.batches import padded_shape, read_window
from medfl.clients.training.devices import Device
from medfl.data.pictures.picture import Picture, to_grey
from medfl.data.preprocess.steps import normalize_and_resample, orient_and_crop
from medfl.data.preprocess.undo import resample_to_source
from medfl.data.sanity import check_image
from medfl.data.source_grid import SourceGrid
from medfl.data.volume import Volume
from medfl.errors import DataError
from medfl.models.case_predictor import predict_probabilities
from medfl.models.trained_model import TrainedModel
from medfl.study import Study

Prediction = NDArray[np.uint8] | dict[str, float]


class Predictor:
    """A trained model that is called with an image and prepares it by itself, as in training.

    Get one from `medfl.load_run`. The network alone is `network`; what it takes is said by
    `medfl.study.model_words.describe_axes`.

    Parameters
    ----------
    model : TrainedModel
        The model.
    device : str
        Device of torch, such as ``"cpu"`` or ``"cuda"``.

    Attributes
    ----------
    study : Study
        Study that trained the model; ``study.task.classes`` names the values of a mask.
    network : torch.nn.Module
        The network in evaluation mode: prepared images (B, C, X, Y[, Z]) to logits.
    """

    study: Study
    network: nn.Module

    def __init__(self, model: TrainedModel, device: str = "cpu") -> None:
        self._device = Device(torch.device(device), None)
        self.study, self.network = model.study, model.build().to(self._device.torch_device)

    def __call__(self, image: Any, affine: NDArray[Any] | None = None) -> Prediction:
        """Predict one image.

        Parameters
        ----------
        image : nibabel image or array
            Of a 3-D study an image of nibabel, or its array (X, Y, Z), several channels last, together with its affine. Of a
            2-D study a picture (rows, columns) as Pillow and pydicom give it, grey or of 8-bit colours (rows, columns, 3), as
            a viewer shows it; several channels last.
        affine : ndarray, optional
            4 x 4 matrix from the indices of the array to RAS millimetres, as nibabel has it. Needed for the array of a volume:
            it says where the axes point, and how large voxels are.

        Returns
        -------
        ndarray of uint8 or dict
            Of a segmentation the class of each voxel, on the axes and in the shape of the image; of a classification the
            probability of each class by its name.

        Raises
        ------
        DataError
            ``PRED-ARRAY`` when the array does not fit the study; what `medfl.data.sanity.check_image` refuses.
        """
        if affine is None and hasattr(image, "affine") and hasattr(image, "dataobj"):
            image, affine = np.asarray(image.dataobj, dtype=np.float32), image.affine
        if isinstance(image, str | os.PathLike):
            raise _unfit("it is a path, and no image.", "Open the file first: nibabel.load(path), or PIL.Image.open(path).")
        array = np.asarray(image)
        if array.dtype.kind not in "biuf":
            raise _unfit(f"its values are of the type {array.dtype}.", "Give an array of real numbers.")
        volume = self._volume(array, affine)
        check_image(volume, self.study)
        probabilities, prepared_affine = self._probabilities(volume)
        if self.study.task.kind == "classification":
            return dict(zip(self.study.task.classes, probabilities.tolist(), strict=True))
        mask = resample_to_source(probabilities, prepared_affine, SourceGrid.of_volume(volume))
        return mask if self.study.task.dimension == 3 else np.ascontiguousarray(mask.T)

    def __repr__(self) -> str:
        return f"<Predictor of {self.study.name}: {', '.join(self.study.task.classes)}>"

    def _volume(self, array: NDArray[Any], affine: NDArray[Any] | None) -> Volume:
        """Return an array with its channels first, in the order of medfl."""
        axes, channels = self.study.task.dimension, self.study.task.channel_count
        if axes == 2:
            return self._picture(array, affine)
        if affine is None:
            what = "the array of a volume says nothing of where its axes point."
            raise _unfit(what, "Give its affine as well, model(array, affine), or the image of nibabel itself.")
        place = np.asarray(affine, dtype=np.float64)
        if place.shape != (4, 4) or not np.isfinite(place).all() or abs(np.linalg.det(place[:3, :3])) < 1e-9:
            raise _unfit("the affine is no usable matrix of 4 x 4 numbers.", "Give the one of the image, as nibabel has it.")
        stacked = array if array.ndim == axes + 1 else array[..., np.newaxis]
        if stacked.ndim != axes + 1 or stacked.shape[-1] != channels:
            wanted = "(X, Y, Z)" if channels == 1 else f"(X, Y, Z, {channels}), the channels last"
            raise _unfit(f"the array has the shape {array.shape}.", f"Give an array {wanted}.")
        return Volume(np.moveaxis(stacked, -1, 0).astype(np.float32), place)

    def _picture(self, array: NDArray[Any], affine: NDArray[Any] | None) -> Volume:
        channels = self.study.task.channel_count
        if affine is not None:
            raise _unfit("a picture has no affine.", "Leave it out: model(array), of the shape (rows, columns).")
        if array.ndim == 3 and array.shape[-1] == 3 and channels == 1:
            if array.dtype != np.uint8:
                raise _unfit("the colours have more than 8 bits.", "Give grey values (rows, columns), or colours of 8 bits.")
            array = to_grey(Picture(array, white=255))
        stacked = array if array.ndim == 3 else array[..., np.newaxis]
        if stacked.ndim != 3 or stacked.shape[-1] != channels:
            wanted = "(rows, columns)" if channels == 1 else f"(rows, columns, {channels})"
            raise _unfit(f"the array has the shape {array.shape}.", f"Give an array {wanted}.")
        return Volume(np.ascontiguousarray(stacked.transpose(2, 1, 0), dtype=np.float32))

    def _probabilities(self, volume: Volume) -> tuple[Tensor, NDArray[np.float64]]:
        """Return class probabilities on the prepared grid, or of the image, and the affine of that grid."""
        study = self.study
        working = orient_and_crop(volume, None, study)
        prepared, _ = normalize_and_resample(working, study)
        images = torch.zeros((1, len(prepared.array), *padded_shape(study, prepared.shape)))
        read_window(prepared.array, images.numpy()[0], [0] * len(prepared.shape))
        with torch.inference_mode():
            (probabilities,) = predict_probabilities(study, self.network, images, [prepared.shape], self._device)
        return probabilities.cpu(), working.affine


def _unfit(what: str, fix: str) -> DataError:
    return DataError("PRED-ARRAY", what, fix)
