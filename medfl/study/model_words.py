"""What a model of a study takes and gives, in words for those who use it without medfl."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from medfl.study.network_definitions import define_network
from medfl.study.study import Study
from medfl.study.tuning import tune_patterns
from medfl.system.text import join_words


def describe_axes(study: Study) -> str:
    """Return which axes the network's images have, and where these point."""
    if study.task.dimension == 2:
        return (
            "Axes are (image, channel, X, Y): X are the columns from left to right and Y the rows from top to bottom, the "
            "transpose of what Pillow, matplotlib and pydicom's pixel_array give (rows, columns)."
        )
    return (
        "Axes are (image, channel, X, Y, Z), of which X runs to the patient's right, Y to the front and Z to the top (RAS): an "
        "array of nibabel after nibabel.as_closest_canonical, and no array (slices, rows, columns)."
    )


def describe_preprocessing(study: Study) -> list[str]:
    """Return what is done to an image before the network sees it, in this order."""
    return [*_first_steps(study), *_intensity_steps(study), *_last_steps(study)]


def describe_output(study: Study) -> str:
    """Return what the logits of the network are."""
    classes = ", ".join(f"{k} {name}" for k, name in enumerate(study.task.classes))
    if study.task.kind == "classification":
        return f"Softmax over the second axis gives the probabilities of the classes: {classes}."
    return (
        f"Softmax over the second axis gives the probabilities of the classes, of which the largest is the voxel's: {classes}. "
        "They are cut to the image without its padding, interpolated linearly onto the grid of the file, and compared there; "
        "outside of what was cropped, all is class 0."
    )


def describe_network(study: Study) -> dict[str, Any]:
    """Return how the network is built, as JSON values: MONAI's class with its arguments, or medfl's name and settings."""
    found = define_network(study, study.network.norm)
    own = study.network.model_dump(mode="json", by_alias=True)
    return {"medfl": own} if found is None else {"target": found.target, "arguments": found.arguments, "medfl": own}


def describe_part(study: Study) -> list[str]:
    """Return which part of the network is trained, sentences without a full stop; none where all of it is."""
    training = study.training
    if not training.tunes_part:
        return []
    words = {
        "head": "its last layer",
        "norm": "its normalisation layers",
    }
    patterns = tune_patterns(training.tune)
    parts = [words[word] for word in training.tune if word in words]
    is_fixed = study.network.norm in ("batch", "batch-frozen") and "norm" not in study.local_layers
    if patterns:
        parts.append(f"the parameters {join_words(patterns)}" + " (but for those of batch normalisation)" * is_fixed)
    if "lora" in training.tune:  # last, or its rank would read as that of what follows
        parts.append(f"low-rank updates of its linear and convolution layers, of rank {training.lora_rank}")
    rest = "as in the first model, which comes once, whole" if study.sends_start else "as the study's seed drew it"
    told = [f"a part of the network is trained and travels: {join_words(parts)}; the rest stays {rest}"]
    if "lora" in training.tune and training.lora_average == "both":
        told.append(
            "both factors of each update are averaged, and the product of the means is not the mean of the products: the more "
            "the hospitals differ, the further the model is from the mean of theirs"
        )
    return told


def _first_steps(study: Study) -> Iterator[str]:
    chosen = study.preprocessing
    if study.task.dimension == 3:
        yield "Axes are exchanged and flipped so that they run to the right, the front and the top (RAS)."
    else:
        yield "Colours become grey (ITU-R 601); 8 bits are 0 to 255. Pixels are square."
    crops = {
        "foreground": "The image is cut to the box of the voxels above 0 in any channel.",
        "nonzero": "The image is cut to the box of the voxels other than 0 in any channel.",
        "body": "The image is cut to the box of the body: the largest connected region above -500 HU, opened at 4 mm.",
    }
    if chosen.crop != "none":
        yield crops[chosen.crop]
    if chosen.bias_correction == "n4":
        yield "The shading of the coil is corrected by SimpleITK's N4, on a grid 4 times as coarse."
    if chosen.contrast == "equalize":
        low, high = chosen.percentiles
        yield f"Each channel is clipped to its percentiles {low:g} and {high:g}, and its histogram made flat, 0 to 1."


def _intensity_steps(study: Study) -> Iterator[str]:
    chosen = study.preprocessing
    low, high = chosen.window or (0.0, 0.0)
    first, last = chosen.percentiles
    nonzero = " of its voxels other than 0, which stay 0" if chosen.intensity == "zscore-nonzero" else ""
    clipped = f", after clipping to the percentiles {first:g} and {last:g}{nonzero and ' of those'}" if chosen.clip else ""
    words = {
        "window": f"Grey values from {low:g} to {high:g} become 0 to 1; what is beyond is clipped.",
        "standardize": f"Grey values are clipped to {low:g} and {high:g}, less {chosen.mean:g}, divided by {chosen.std:g}.",
        "unit": "Each channel is scaled so that its least value is 0 and its largest 1.",
        "percentile": f"Each channel is scaled so that its percentiles {first:g} and {last:g} become 0 and 1"
        f"{', and clipped to them' if chosen.clip else ''}.",
    }
    zscore = f"Each channel is less its mean, divided by its standard deviation{nonzero}{clipped}."
    yield words.get(chosen.intensity, zscore)


def _last_steps(study: Study) -> Iterator[str]:
    chosen, patch = study.preprocessing, study.training.patch
    if chosen.spacing:
        size = " x ".join(f"{side:g}" for side in chosen.spacing)
        yield f"Voxels become {size} mm, by linear interpolation; the first voxel stays where it is."
    if chosen.size:
        size = " x ".join(map(str, chosen.size))
        fit = "The picture is scaled to fit into" if study.task.dimension == 2 else "The volume is padded or cropped to"
        how = " with its aspect, averaged (area) or interpolated linearly, and padded" if study.task.dimension == 2 else ""
        yield f"{fit} {size}{how}, about its centre, with 0."
    if chosen.dtype == "float16":
        yield "Values are rounded to float16, and used as float32."
    if patch:
        size = " x ".join(map(str, patch))
        yield f"What is smaller than {size} is padded with 0 about its centre."
        if study.task.kind == "segmentation":
            share = f"{100 * study.evaluation.test_overlap:g} %"
            yield f"What is larger is covered by windows of that size which overlap by {share}, blended with Gaussian weights."
        return
    divisors = study.network.divisors(study.task.dimension)
    if max(divisors) > 1:
        yield f"Sides are padded with 0 about the centre to multiples of {' x '.join(map(str, divisors))}."
