"""Plan of a study, made from a fingerprint: how images are preprocessed, and which network and patch suit them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from medfl.errors import ConfigError, DataError, Problem
from medfl.planning import fingerprint_statistics, nnunet_rules
from medfl.planning.fingerprint import Fingerprint
from medfl.planning.fingerprint_statistics import IntensityStatistics
from medfl.study import Study
from medfl.study.study_file import STUDY_FILE

MIN_LEVELS = 3  # of MONAI's DynUNet
MIN_GPU_GB = 1.0

Sizes = tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """Plan for all hospitals. Axes are x, y(, z).

    Parameters
    ----------
    cases : int
        Number of cases that the plan is based on.
    shape : tuple of int
        Median size of the images after resampling, voxels.
    spacing : tuple of float
        Voxel size that all volumes are resampled to, mm; empty in 2-D.
    crop : str
        Crop as in the study.
    intensity : str
        Normalisation as in the study; empty where the study keeps its own, as for X-ray and ultrasound.
    foreground : IntensityStatistics, optional
        Statistics for ``intensity = "standardize"``.
    patch : tuple of int
        Voxels.
    batch : int
        Patches in a step.
    filters : tuple of int
        Channels of each level of the network.
    strides, kernels : tuple of tuple of int
        Strides and kernel sizes for each level and axis.
    """

    cases: int
    shape: Sizes
    spacing: tuple[float, ...]
    crop: str
    intensity: str
    foreground: IntensityStatistics | None
    patch: Sizes
    batch: int
    filters: Sizes
    strides: tuple[Sizes, ...]
    kernels: tuple[Sizes, ...]


def make_plan(fingerprint: Fingerprint, study: Study, gpu_gb: float = nnunet_rules.REFERENCE_GB) -> Plan:
    """Plan a segmentation study by the rules of nnU-Net.

    Parameters
    ----------
    fingerprint : Fingerprint
        Fingerprint of all hospitals together.
    study : Study
        Gives the task, and in 2-D the size of the images.
    gpu_gb : float
        Memory of the smallest GPU that takes part, GB.

    Returns
    -------
    Plan

    Raises
    ------
    ConfigError
        When the study is not a segmentation, or the memory is too small for any network.
    DataError
        ``PLAN-SMALL`` when the images are too small to be halved twice, ``PLAN-INTENSITY`` when no hospital gives CT values.
    """
    check_plannable(study)
    if not gpu_gb >= MIN_GPU_GB:
        raise ConfigError([Problem("command line", "--gpu-gb", f"came {gpu_gb:g}, must be at least {MIN_GPU_GB:g}.")])
    spacing = _plan_spacing(fingerprint) if study.task.dimension == 3 else (1.0, 1.0)
    shape = _plan_shape(fingerprint, study, spacing)
    order = _nnunet_order(spacing)
    planned = nnunet_rules.plan_network(
        [spacing[axis] for axis in order],
        [shape[axis] for axis in order],
        len(study.task.classes),
        float(math.prod(shape) * fingerprint.cases),
        gpu_gb,
    )
    network = planned.topology
    if len(network.strides) < MIN_LEVELS:
        what = f"images of about {' x '.join(map(str, shape))} voxels are too small for a network of {MIN_LEVELS} levels."
        raise DataError("PLAN-SMALL", what, "Choose the network and its patch by hand, for example a 'unet' with two levels.")
    intensity, foreground = _plan_normalization(fingerprint, study)
    return Plan(
        cases=fingerprint.cases,
        shape=shape,
        spacing=spacing if study.task.dimension == 3 else (),
        crop=fingerprint.scope.crop,
        intensity=intensity,
        foreground=foreground,
        patch=_restore_order(network.patch, order),
        batch=planned.batch,
        filters=network.features,
        strides=tuple(_restore_order(level, order) for level in network.strides),
        kernels=tuple(_restore_order(level, order) for level in network.kernels),
    )


def check_plannable(study: Study) -> None:
    """Raise ConfigError unless the study can be planned."""
    if study.task.kind != "segmentation":
        what = f"came {study.task.kind!r}; a plan is made for segmentation, where patch and network follow from the images."
        raise ConfigError([Problem(STUDY_FILE, "task.kind", what, "Choose 'preprocessing.size' and the network by hand.")])


def _plan_spacing(fingerprint: Fingerprint) -> tuple[float, ...]:
    target = nnunet_rules.target_spacing(
        lambda axis, p: fingerprint_statistics.spacing_percentile(fingerprint, axis, p),
        fingerprint_statistics.median_size(fingerprint),
    )
    return tuple(float(f"{step:.6g}") for step in target)  # as it will be written into the study


def _plan_shape(fingerprint: Fingerprint, study: Study, spacing: Sequence[float]) -> Sizes:
    if study.task.dimension == 2:
        return study.preprocessing.size or fingerprint_statistics.median_size(fingerprint)
    return fingerprint_statistics.median_shape(fingerprint, spacing)


def _nnunet_order(spacing: Sequence[float]) -> list[int]:
    """Return the axes in nnU-Net's order: z, y, x, but the coarsest first. The order decides between equal axes."""
    axes = list(range(len(spacing)))[::-1]
    coarsest = max(axes, key=lambda axis: spacing[axis])
    return [coarsest, *(axis for axis in axes if axis != coarsest)] if len(axes) == 3 else axes


def _restore_order(values: Sequence[int], order: Sequence[int]) -> Sizes:
    return tuple(value for _, value in sorted(zip(order, values, strict=True)))


def _plan_normalization(fingerprint: Fingerprint, study: Study) -> tuple[str, IntensityStatistics | None]:
    modality = study.task.modality
    if modality == "CT":
        foreground = fingerprint_statistics.intensity_statistics(fingerprint)
        if foreground is None or foreground.std <= 0 or foreground.low >= foreground.high:
            what = "no hospital gave the CT values of marked voxels, or all of them are equal."
            raise DataError("PLAN-INTENSITY", what, "Choose preprocessing.intensity and a window by hand.")
        return "standardize", foreground
    if modality != "MR":
        return "", None
    return "zscore-nonzero" if fingerprint_statistics.is_mostly_cropped(fingerprint) else "zscore", None
