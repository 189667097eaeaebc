"""The steps of a study around its network as transforms of MONAI, for `inference.json`: nothing in them is medfl's own.

Expressions (``$...``) are there only where MONAI has no class for a choice that depends on the image.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from medfl.data.pictures.turn import EXIF_TURNS
from medfl.study import Study
from medfl.study.sections import Preprocessing

Step = dict[str, Any]

_RAS_LABELS = [["L", "R"], ["P", "A"], ["I", "S"]]
_READ_PICTURE = (  # grey as a viewer shows it, upright as a camera says; greys of more than 8 bits keep them
    "$lambda picture: ImageOps.exif_transpose(picture if picture.mode[0] in 'IF' else picture.convert('L'))"
)


def missing_steps(study: Study) -> list[str]:
    """Return which steps of a study MONAI has no transforms for, a sentence each; with none, all steps can be written."""
    chosen, flat = study.preprocessing, study.task.dimension == 2
    problems = {
        "MONAI has no transform that crops to the body as medfl does (crop = 'body').": chosen.crop == "body",
        "MONAI has no transform for the correction of the bias field (bias-correction = 'n4').": chosen.bias_correction == "n4",
        "MONAI takes no percentiles of the voxels that are not 0 (intensity = 'zscore-nonzero' with clip).": (
            chosen.intensity == "zscore-nonzero" and chosen.clip
        ),
        "MONAI has no transform that fits a picture into a box whose sides differ (size).": (
            flat and bool(chosen.size) and len(set(chosen.size)) > 1
        ),
        "MONAI has no transform that equalizes the histogram of each channel by itself (contrast = 'equalize').": (
            chosen.contrast == "equalize" and study.task.channel_count > 1
        ),
    }
    return [sentence for sentence, is_there in problems.items() if is_there]


def reads_dicom(study: Study) -> bool:
    """Return whether MONAI alone reads the study's images from DICOM: CT or MR of one channel, a folder for each series."""
    return study.task.dimension == 3 and study.task.channel_count == 1 and study.task.modality in ("CT", "MR")


def preprocessing_steps(study: Study) -> list[Step | str]:
    """Return the steps from a file to the input of the network; the last, ``@padding``, is an item of its own."""
    steps: list[Step | str] = [_loading(study)]
    if study.task.kind == "segmentation":
        steps.append({"_target_": "CopyItemsd", "keys": "image", "names": "source"})  # the grid to go back to
    if study.task.dimension == 3:
        steps.append({"_target_": "Orientationd", "keys": "image", "axcodes": "RAS", "labels": _RAS_LABELS})
    steps += [*_cropping(study), *_contrast(study.preprocessing), *_intensity(study.preprocessing), *_spatial(study)]
    if study.preprocessing.dtype == "float16":  # rounded as medfl stores it
        steps += [{"_target_": "CastToTyped", "keys": "image", "dtype": f"$torch.{kind}"} for kind in ("float16", "float32")]
    return [*steps, "@padding"]


def padding_step(study: Study) -> Step:
    """Return the step that pads an image with zeros, about its centre, to a patch or to what the network can halve."""
    if study.training.patch:
        return {"_target_": "SpatialPadd", "keys": "image", "spatial_size": list(study.training.patch)}
    return {"_target_": "DivisiblePadd", "keys": "image", "k": list(study.network.divisors(study.task.dimension))}


def postprocessing_steps(study: Study) -> list[Step]:
    """Return the steps from logits to probabilities, and of a segmentation on to the mask on the grid of the file."""
    softmax = {"_target_": "Activationsd", "keys": "pred", "softmax": True}
    if study.task.kind == "classification":
        return [softmax]
    back = {"_target_": "ResampleToMatchd", "keys": "pred", "key_dst": "source", "mode": "bilinear", "padding_mode": "zeros"}
    return [
        softmax,
        {"_target_": "Invertd", "keys": "pred", "transform": "@padding", "orig_keys": "image", "nearest_interp": False},
        back,  # probabilities are interpolated; outside of what was cropped all are 0, and the first class is the background
        {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
        *([{"_target_": "Lambdad", "keys": "pred", "func": _turn_back()}] if study.task.dimension == 2 else []),
        {
            "_target_": "SaveImaged",
            "keys": "pred",
            "output_dir": "@output_dir",
            "output_postfix": "mask",
            "output_ext": ".nii.gz" if study.task.dimension == 3 else ".png",
            "output_dtype": "$np.uint8",
            "output_name_formatter": "@name_mask",
            "resample": study.task.dimension == 3,  # a picture that is turned back has another shape than its metadata say
            "separate_folder": False,
        },
    ]


def naming(study: Study) -> dict[str, str]:
    """Return the items that name a mask after its image: without the end, unless another image differs in that alone."""
    if study.task.kind == "classification":
        return {}
    many = study.task.channel_count > 1

    def stem(path: str) -> str:
        cut = "_0000.nii" if many else ".nii"
        return f"os.path.splitext({path})[0]" if study.task.dimension == 2 else f"{path}.rsplit({cut!r}, 1)[0]"

    path = "meta['filename_or_obj']"  # of several channels the first; MONAI cuts an end off, so a dot is put there
    is_alone = f"@stems.count({stem(path)}) == 1"
    return {
        "stems": f"$[{stem('case' + repr(['image']) + ('[0]' if many else ''))} for case in @files]",
        "name_mask": f"$lambda meta, saver: {{'subject': ({stem(path)} if {is_alone} else {path}) + '.'}}",
    }


def _turn_back() -> str:
    """Return the expression that brings the mask of a picture from what a camera says is upright to the pixels as stored."""
    turns = {
        k: (turn.swap, [axis for axis, flip in ((-2, turn.flip_x), (-1, turn.flip_y)) if flip])
        for k, turn in EXIF_TURNS.items()
    }
    found = f"{turns}.get(Image.open(mask.meta['filename_or_obj']).getexif().get(274), (False, []))"
    return f"$lambda mask: (lambda swap, axes: mask.flip(axes).transpose(-1, -2) if swap else mask.flip(axes))(*{found})"


def _loading(study: Study) -> Step:
    reader: Any = {"_target_": "PILReader", "converter": _READ_PICTURE}
    if study.task.dimension == 3:
        reader = ["PydicomReader", "NibabelReader"] if reads_dicom(study) else "NibabelReader"  # the last is tried first
    return {"_target_": "LoadImaged", "keys": "image", "reader": reader, "ensure_channel_first": True}


def _cropping(study: Study) -> Iterator[Step]:
    if study.preprocessing.crop == "none":
        return
    step: Step = {"_target_": "CropForegroundd", "keys": "image", "source_key": "image", "allow_smaller": True}
    if study.preprocessing.crop == "nonzero":
        step["select_fn"] = {"_target_": "torch.ne", "_mode_": "callable", "other": 0}
    yield step


def _contrast(chosen: Preprocessing) -> Iterator[Step]:
    if chosen.contrast == "equalize":
        yield _clip_to_percentiles(chosen)
        yield {"_target_": "HistogramNormalized", "keys": "image", "num_bins": 256, "min": 0, "max": 1}


def _intensity(chosen: Preprocessing) -> list[Step]:
    image = {"keys": "image"}
    match chosen.intensity:
        case "window":
            low, high = chosen.window
            scale = {"a_min": low, "a_max": high, "b_min": 0.0, "b_max": 1.0, "clip": True}
            return [{"_target_": "ScaleIntensityRanged", **image, **scale}]
        case "standardize":
            low, high = chosen.window
            return [
                {"_target_": "ThresholdIntensityd", **image, "threshold": low, "above": True, "cval": low},
                {"_target_": "ThresholdIntensityd", **image, "threshold": high, "above": False, "cval": high},
                {"_target_": "NormalizeIntensityd", **image, "subtrahend": chosen.mean, "divisor": chosen.std},
            ]
        case "unit":
            return [{"_target_": "ScaleIntensityd", **image, "channel_wise": True}]
        case "percentile":
            low, high = chosen.percentiles
            scale = {"lower": low, "upper": high, "b_min": 0.0, "b_max": 1.0, "clip": chosen.clip, "channel_wise": True}
            return [{"_target_": "ScaleIntensityRangePercentilesd", **image, **scale}]
    nonzero = chosen.intensity == "zscore-nonzero"
    normalize: Step = {"_target_": "NormalizeIntensityd", **image, "nonzero": nonzero, "channel_wise": True}
    return [_clip_to_percentiles(chosen), normalize] if chosen.clip else [normalize]


def _clip_to_percentiles(chosen: Preprocessing) -> Step:
    low, high = chosen.percentiles
    return {"_target_": "ClipIntensityPercentilesd", "keys": "image", "lower": low, "upper": high, "channel_wise": True}


def _spatial(study: Study) -> Iterator[Step]:
    chosen = study.preprocessing
    if chosen.spacing:
        # MONAI's Spacing keeps the first voxel in its place only where the axes are those of the patient to the last digit
        rotation = f"monai.data.utils.zoom_affine(image.affine.numpy(), {tuple(chosen.spacing)}, diagonal=False)[:, :3]"
        grid = f"$lambda image: torch.as_tensor(np.hstack(({rotation}, image.affine.numpy()[:, 3:])))"
        yield {"_target_": "Lambdad", "keys": "image", "func": grid, "overwrite": "grid"}
        yield {"_target_": "SpatialResampled", "keys": "image", "dst_keys": "grid", "padding_mode": "border"}
        yield {"_target_": "DeleteItemsd", "keys": "grid"}
    if chosen.size:
        if study.task.dimension == 2:
            # a picture that is too large is averaged, so that there is no aliasing; one that is too small is interpolated
            fit = f"$lambda image: (@shrink if max(image.shape[1:]) > {chosen.size[0]} else @enlarge)(image)"
            yield {"_target_": "Lambdad", "keys": "image", "func": fit}
        yield {"_target_": "ResizeWithPadOrCropd", "keys": "image", "spatial_size": list(chosen.size)}


def fitting_steps(study: Study) -> dict[str, Step]:
    """Return the two ways to fit a picture into the size of the study, which the preprocessing chooses from; else nothing."""
    if study.task.dimension == 3 or not study.preprocessing.size:
        return {}
    side = study.preprocessing.size[0]
    fit = {"_target_": "Resize", "spatial_size": side, "size_mode": "longest"}
    return {"shrink": {**fit, "mode": "area"}, "enlarge": {**fit, "mode": "bilinear"}}
