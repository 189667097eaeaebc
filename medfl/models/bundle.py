"""A trained model as a MONAI bundle: a folder that others use without medfl."""

from __future__ import annotations

import io
import json
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from medfl.errors import RunError
from medfl.models import dicom_series
from medfl.models.bundle_inference import PREDICTIONS_FILE, SERIES_SCRIPT, inference_config, input_files
from medfl.models.bundle_metadata import bundle_metadata, reader_packages
from medfl.models.bundle_network import BundleNetwork, make_bundle_network
from medfl.models.bundle_steps import missing_steps, reads_dicom
from medfl.models.exported_program import export_program
from medfl.models.known_pair import encode_pair, random_images
from medfl.models.onnx_program import export_onnx, require_onnx
from medfl.models.trained_model import EXPORTED_MODEL, TrainedModel
from medfl.runs.model_file import model_file_bytes
from medfl.study.model_words import describe_axes, describe_preprocessing
from medfl.study.plain_names import escape_markdown
from medfl.system.files import TEMPORARY_PREFIX, rename_if_free, temporary_folder, translate_disk_errors, write_file
from medfl.system.templates import template_environment

CARD_FILE = "MODEL_CARD.md"


@dataclass(frozen=True)
class BundleFacts:
    """What a bundle says of its model beyond the study.

    Parameters
    ----------
    description : str
        What the model is, and where it comes from, in a sentence or two.
    card : str
        The model card, Markdown.
    licence : str
        Text of the file LICENSE; its first line is the licence's name.
    about : mapping
        Where the model comes from, as `medfl.runs.model_file.ModelFile.about`.
    scores : mapping of str to float
        Scores on test patients by name.
    """

    description: str
    card: str
    licence: str
    about: Mapping[str, Any]
    scores: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Bundle:
    """A bundle that was written.

    Parameters
    ----------
    path : Path
        Its folder.
    left_out : tuple of str
        What it lacks, and why, a sentence each.
    """

    path: Path
    left_out: tuple[str, ...]


def require_free(folder: Path) -> None:
    """Refuse to write where something lies already, before the work is done.

    Raises
    ------
    RunError
        ``EXPORT-EXISTS``.
    """
    if folder.exists() or folder.is_symlink():
        what = f"there is already something at {folder}, and an export replaces nothing."
        raise RunError("EXPORT-EXISTS", what, "Name a folder that does not exist with '--out', or remove that one.")


def write_bundle(model: TrainedModel, facts: BundleFacts, folder: Path, *, onnx: bool = False) -> Bundle:
    """Write a bundle; the folder appears when it is whole, or not at all.

    Parameters
    ----------
    model : TrainedModel
        The model.
    facts : BundleFacts
        What is said of it.
    folder : Path
        A new folder; those above it are made.
    onnx : bool
        Whether to write ``model.onnx`` as well.

    Raises
    ------
    RunError
        ``EXPORT-EXTRA``, ``EXPORT-EXISTS``, ``RUN-FOLDER``, ``DISK-FULL``.
    ExchangeError
        ``MODEL-MISMATCH``, ``MODEL-NONFINITE``.
    """
    if onnx:
        require_onnx()
    require_free(folder)
    content = _BundleContent(model, facts, onnx=onnx)
    with translate_disk_errors("the export", "give the command again; nothing of the export was left"):
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished = folder.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(4)}")
        with temporary_folder(unfinished):
            for name, data in content.files():
                path = unfinished / name
                path.parent.mkdir(exist_ok=True)
                write_file(path, data)
            unfinished.chmod(0o755)
            if not rename_if_free(unfinished, str(folder)):
                require_free(folder)
    return Bundle(folder, tuple(content.left_out))


class _BundleContent:
    """The files of a bundle, made when they are asked for."""

    def __init__(self, model: TrainedModel, facts: BundleFacts, *, onnx: bool) -> None:
        self._wants_onnx = onnx
        self._model, self._study, self._facts = model, model.study, facts
        self._net: nn.Module = model.build()
        self._network: BundleNetwork = make_bundle_network(model.study, self._net, random_images(model.study))

    def files(self) -> Iterator[tuple[str, bytes]]:
        """Yield the name and the content of each file."""
        yield "configs/metadata.json", _encode_json(self._metadata())
        if self.runs and self._network.definition is not None:
            yield "configs/inference.json", _encode_json(inference_config(self._study, self._network.config()))
            if reads_dicom(self._study):
                yield SERIES_SCRIPT, Path(dicom_series.__file__).read_bytes()
        yield str(EXPORTED_MODEL), model_file_bytes(self._study, self._model.arrays, self._facts.about)
        yield "models/model.pt", _encode_state(self._network.state)
        if isinstance(self.program, bytes):
            yield "models/model.pt2", self.program
        if isinstance(self.onnx, bytes):
            yield "models/model.onnx", self.onnx
        yield "known.npz", encode_pair(self._net, random_images(self._study, window=self._network.definition is None))
        yield "README.md", self._readme().encode()
        yield CARD_FILE, self._facts.card.encode()
        yield "LICENSE", self._facts.licence.encode()

    @cached_property
    def program(self) -> bytes | str:
        """Content of ``model.pt2``, or why there is none."""
        return export_program(self._net, random_images(self._study, window=True))

    @cached_property
    def onnx(self) -> bytes | str:
        """Content of ``model.onnx``, or why there is none; empty where it was not asked for."""
        return export_onnx(self._net, random_images(self._study, window=True)) if self._wants_onnx else ""

    @property
    def runs(self) -> bool:
        """Whether MONAI alone goes from images to predictions."""
        return self._network.definition is not None and not missing_steps(self._study)

    @property
    def left_out(self) -> list[str]:
        """What the bundle lacks, and why."""
        reasons = [*missing_steps(self._study), *filter(None, [self._network.reason])]
        sentences = [f"configs/inference.json is left out: {' '.join(reasons)}"] if reasons else []
        if isinstance(self.program, str):
            sentences.append(f"models/model.pt2 is left out: {self.program}")
        if self.onnx and isinstance(self.onnx, str):
            sentences.append(f"models/model.onnx is left out: {self.onnx}")
        return sentences

    def _metadata(self) -> dict[str, Any]:
        licence = self._facts.licence.splitlines()[0]
        return bundle_metadata(self._study, self._facts.description, licence, dict(self._facts.scores))

    def _readme(self) -> str:
        masks = self._study.task.kind == "segmentation"
        axes = "X, Y" if self._study.task.dimension == 2 else "X, Y, Z"
        template = template_environment("medfl.models", escape=False).get_template("bundle_readme.md.j2")
        return template.render(
            study=self._study,
            description=escape_markdown(self._facts.description),
            network=self._network,
            program=isinstance(self.program, bytes),
            onnx=isinstance(self.onnx, bytes),
            runs=self.runs,
            left_out=self.left_out,
            outcome="masks" if masks else "probabilities",
            files=input_files(self._study),
            dicom_script=SERIES_SCRIPT if reads_dicom(self._study) else "",
            packages=",".join(reader_packages(self._study)),
            result=_describe_result(masks, self._study.task.classes, self._study.task.dimension),
            preprocessing=describe_preprocessing(self._study),
            axes=describe_axes(self._study),
            input_shape=f"(images, {self._study.task.channel_count}, {axes})",
            output_shape=f"(images, {len(self._study.task.classes)}{f', {axes}' if masks else ''})",
        )


def _describe_result(masks: bool, classes: tuple[str, ...], dimension: int) -> str:
    names = [escape_markdown(name) for name in classes]
    if not masks:
        return (
            f"`{PREDICTIONS_FILE}`: below a row of names, for each image its path and the probabilities of {', '.join(names)}"
        )
    numbers = ", ".join(f"{k} {name}" for k, name in enumerate(names))
    end, grid = ("nii.gz", "grid") if dimension == 3 else ("png", "pixels as they are stored")
    return (
        f"`NAME_mask.{end}` for each image, on its own {grid}, with the numbers of the classes: {numbers}. "
        f"Of two images whose names differ in their ends alone, each keeps its end: `NAME.{end}_mask.{end}`"
    )


def _encode_json(values: dict[str, Any]) -> bytes:
    return (json.dumps(values, indent=2, allow_nan=False) + "\n").encode()


def _encode_state(state: dict[str, Tensor]) -> bytes:
    content = io.BytesIO()
    torch.save({name: tensor.detach() for name, tensor in state.items()}, content)
    return content.getvalue()
