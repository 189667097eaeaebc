"""Synthetic heads: the MNI ICBM152 anatomy, deformed at random and acquired by a hospital's scanner."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medfl.errors import DataError, MedflError

Array = NDArray[np.float32]
Affine = NDArray[np.float64]

NOTICE = """\
The images in this folder are made up. They show no patient: each is the average anatomy of the MNI ICBM152 template,
deformed at random, with altered grey values, an added bias field and added noise. The template is distributed with nilearn
and comes with this notice, which must travel with every copy:

Copyright (C) 1993-2004 Louis Collins, McConnell Brain Imaging Centre, Montreal Neurological Institute, McGill University.
Permission to use, copy, modify, and distribute this software and its documentation for any purpose and without fee is hereby
granted, provided that the above copyright notice appear in all copies. The authors and McGill University make no
representations about the suitability of this software for any purpose. It is provided "as is" without express or implied
warranty. The authors are not responsible for any data loss, equipment damage, property loss, or injury to subjects or patients
resulting from the use or misuse of this software package.

Reference: V. Fonov, A. C. Evans, K. Botteron, C. R. Almli, R. C. McKinstry, D. L. Collins and the Brain Development
Cooperative Group: Unbiased average age-appropriate atlases for pediatric studies. NeuroImage 54(1), 313-327, 2011.
"""

CLASSES = ("background", "grey-matter", "white-matter")

_FILE = "mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"
_CENTRE = np.array([0.0, -17.0, 6.0])  # of the brain, mm in MNI space
_FIELD_OF_VIEW = np.array([164.0, 200.0, 174.0])  # mm along x, y and z: the brain, with a margin for its deformation
_SCALP_MARGIN = 20.0  # mm more where the whole head is acquired
_SCALP_KNOTS = (0.0, 3.0, 6.0, 8.0, 13.0, 15.0)  # mm from the brain: fluid, bone, then scalp, then air
_T1_KNOTS = (0.0, 45.0, 100.0, 169.0, 215.0, 255.0)  # grey values of the template: air, rim, fluid, grey, white, brightest
_AIR = 25.0  # below this grey value of the template there is no brain


@dataclass(frozen=True)
class Template:
    """Average brain on a grid of 2 mm.

    Parameters
    ----------
    maps : array of shape (3, X, Y, Z)
        T1 grey value, share of grey matter, share of white matter; each 0 to 255.
    outside : array of shape (X, Y, Z)
        Distance from the brain, mm.
    affine : array of shape (4, 4)
        Voxel to MNI millimetres (RAS+).
    """

    maps: Array
    outside: Array
    affine: Affine


@dataclass(frozen=True)
class Scanner:
    """Scanner of a hospital, with its protocol.

    Parameters
    ----------
    orientation : str
        Anatomical direction in which each array axis points, for example ``"LPS"``.
    spacing : tuple of float
        Millimetres along the array axes.
    fluid, grey, white : float
        Grey value of each tissue, as a share of the full scale.
    scalp : float
        Grey value of the scalp; 0 for a hospital that exports extracted brains, where all else is zero.
    tilt : float
        Largest angle by which the slices are inclined about the left-right axis, degrees.
    bias : float
        Standard deviation of the logarithm of the bias field.
    noise : float
        Standard deviation of the noise, as a share of the full scale.
    scale : float
        Full scale of the stored numbers.
    """

    orientation: str
    spacing: tuple[float, float, float]
    fluid: float
    grey: float
    white: float
    scalp: float = 0.0
    tilt: float = 0.0
    bias: float = 0.08
    noise: float = 0.02
    scale: float = 1000.0


@dataclass(frozen=True)
class Head:
    """Head of one synthetic patient.

    Parameters
    ----------
    image : array of shape (I, J, K)
        Grey values, whole numbers from 0.
    label : array of shape (I, J, K)
        0 background, 1 grey matter, 2 white matter.
    affine : array of shape (4, 4)
        Voxel to patient millimetres (RAS+).
    """

    image: NDArray[np.uint16]
    label: NDArray[np.uint8]
    affine: Affine


def read_template() -> Template:
    """Read the template that nilearn carries; nilearn itself is not imported.

    Raises
    ------
    MedflError
        ``SYNTH-NILEARN`` when nilearn or its files are missing.

    References
    ----------
    Fonov et al., Unbiased average age-appropriate atlases for pediatric studies, NeuroImage 54, 2011.
    """
    import nibabel
    from scipy.ndimage import distance_transform_edt

    spec = importlib.util.find_spec("nilearn")
    folders = [Path(p) / "datasets" / "data" for p in (spec.submodule_search_locations or ())] if spec else []
    folder = next((f for f in folders if all((f / _FILE.format(k)).is_file() for k in ("t1", "gm", "wm"))), None)
    if folder is None:
        raise MedflError(
            "SYNTH-NILEARN",
            "the synthetic brains come from the MNI template that nilearn carries, and nilearn is not installed.",
            'Install it with: pip install "flwr-medfl[demo]"',
        )
    images = [nibabel.load(folder / _FILE.format(kind)) for kind in ("t1", "gm", "wm")]
    maps = np.stack([_halve(np.asarray(image.dataobj, dtype=np.float32)) for image in images])
    affine = np.array(images[0].affine, dtype=np.float64)
    affine[:3, 3] += affine[:3, :3] @ np.full(3, 0.5)  # centre of a block of two voxels
    affine[:3, :3] *= 2
    outside = distance_transform_edt(maps[0] <= _AIR, sampling=2.0).astype(np.float32)
    return Template(maps, outside, affine)


def _halve(volume: Array) -> Array:
    x, y, z = (n // 2 for n in volume.shape)
    blocks = volume[: 2 * x, : 2 * y, : 2 * z].reshape(x, 2, y, 2, z, 2)
    return np.asarray(blocks.mean(axis=(1, 3, 5)), dtype=np.float32)


def make_head(template: Template, scanner: Scanner, seed: tuple[int, ...]) -> Head:
    """Deform the template at random and acquire an image of it.

    Parameters
    ----------
    template : Template
        Source of the anatomy.
    scanner : Scanner
        Scanner that acquires the image.
    seed : tuple of int
        The same numbers give the same patient.

    Returns
    -------
    Head
    """
    from scipy.ndimage import map_coordinates

    rng = np.random.default_rng(seed)
    shape, affine = _sample_grid(scanner, rng)
    points = _deform_points(shape, affine, rng)
    inverse = np.linalg.inv(template.affine)
    voxels = np.einsum("ij,j...->i...", inverse[:3, :3], points) + inverse[:3, 3].reshape(3, 1, 1, 1)
    t1, grey, white = (map_coordinates(m, voxels, order=1, mode="constant", prefilter=False) for m in template.maps)
    label = np.where(grey + white < 127.5, 0, np.where(white > grey, 2, 1)).astype(np.uint8)
    outside = map_coordinates(template.outside, voxels, order=1, mode="nearest", prefilter=False)
    return Head(_acquire(t1, outside, scanner, rng), label, affine)


def _sample_grid(scanner: Scanner, rng: np.random.Generator) -> tuple[tuple[int, int, int], Affine]:
    axes, signs = parse_orientation(scanner.orientation)
    columns = np.zeros((3, 3))
    columns[axes, range(3)] = signs
    angle = np.deg2rad(rng.uniform(-scanner.tilt, scanner.tilt))
    tilt = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    field = _FIELD_OF_VIEW + (_SCALP_MARGIN if scanner.scalp else 0.0)
    shape = np.ceil(field[axes] / scanner.spacing).astype(int)
    affine = np.eye(4)
    affine[:3, :3] = tilt @ columns * scanner.spacing
    centre = _CENTRE + rng.uniform(-3, 3, 3)
    affine[:3, 3] = centre - affine[:3, :3] @ ((shape - 1) / 2)
    return (int(shape[0]), int(shape[1]), int(shape[2])), affine


def parse_orientation(orientation: str) -> tuple[list[int], list[int]]:
    """Return the world axis and the sign of each array axis.

    Raises
    ------
    DataError
        ``SYNTH-ORIENTATION`` when the three letters do not name three different directions.

    Examples
    --------
    >>> parse_orientation("LIA")
    ([0, 2, 1], [-1, -1, 1])
    """
    axes = [("RL", "AP", "SI").index(pair) for letter in orientation for pair in ("RL", "AP", "SI") if letter in pair]
    if len(orientation) != 3 or sorted(axes) != [0, 1, 2]:
        raise DataError("SYNTH-ORIENTATION", f"{orientation!r} is not an orientation.", "Use three letters, for example RAS.")
    return axes, [1 if letter in "RAS" else -1 for letter in orientation]


def _deform_points(shape: tuple[int, int, int], affine: Affine, rng: np.random.Generator) -> Affine:
    """Return the point of the template, in mm, that each voxel shows, shape (3, I, J, K)."""
    index = np.indices(shape, dtype=np.float64)
    world = np.einsum("ij,j...->i...", affine[:3, :3], index) + affine[:3, 3].reshape(3, 1, 1, 1)
    centre = _CENTRE.reshape(3, 1, 1, 1)
    a, b, c = np.deg2rad(rng.uniform(-7, 7, 3))
    rotation = np.array([[1, -c, b], [c, 1, -a], [-b, a, 1]])  # for small angles; the remaining shear is anatomy, too
    posed = np.einsum("ij,j...->i...", rotation * rng.uniform(0.95, 1.07, 3), world - centre) + centre
    field = np.stack([_smooth_field(shape, 7, rng) for _ in range(3)])
    return np.asarray(posed + 3.5 * field)


def _smooth_field(shape: tuple[int, int, int], knots: int, rng: np.random.Generator) -> Affine:
    """Return a random smooth field of about unit deviation, with `knots` control points along each axis."""
    from scipy.ndimage import zoom

    points = rng.normal(size=(knots, knots, knots))
    field = zoom(points, [n / knots for n in shape], order=3, mode="nearest", grid_mode=True)
    return np.asarray(field[: shape[0], : shape[1], : shape[2]])


def _acquire(t1: Array, outside: Array, scanner: Scanner, rng: np.random.Generator) -> NDArray[np.uint16]:
    fluid, grey, white = np.array([scanner.fluid, scanner.grey, scanner.white]) * rng.uniform(0.95, 1.05, 3)
    brightest = max(white + 0.5 * (white - grey), 0.05)
    signal = np.interp(t1, _T1_KNOTS, (0.0, 0.6 * fluid, fluid, grey, white, brightest))
    if scanner.scalp:
        around = (0.6 * fluid, 0.05, 0.05, scanner.scalp, scanner.scalp, 0.0)
        signal = np.where(t1 > _AIR, signal, np.interp(outside, _SCALP_KNOTS, around))
    signal *= np.exp(scanner.bias * _smooth_field(t1.shape, 3, rng))
    real, imaginary = rng.normal(scale=scanner.noise, size=(2, *t1.shape))
    magnitude = np.hypot(signal + real, imaginary)  # Rician, as in a magnitude image
    stored = np.maximum(magnitude * scanner.scale, 1.0)
    if not scanner.scalp:
        stored = np.where(t1 > _AIR, stored, 0.0)
    return np.asarray(np.rint(stored), dtype=np.uint16)
