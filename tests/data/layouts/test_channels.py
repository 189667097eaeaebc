"""Channels are told by their names in every layout, so that two hospitals never train with theirs in different orders."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medfl.data.cohort import read_cohort
from medfl.data.layouts.channels import names_in_patterns
from medfl.data.load import load_case
from medfl.data.quality.site_check import check_site
from medfl.data.store.prepare import prepare_cases
from medfl.errors import ConfigError, DataError
from medfl.site import Site
from medfl.study import Study

StudyMaker = Callable[..., Study]
SiteMaker = Callable[..., Site]
SHAPE = (6, 7, 12)
GREY = {"T1": 100, "FLAIR": 200, "T2": 300}


def image_of(channel: str, patient: int = 0) -> np.ndarray:
    """Return an image whose grey values tell which channel it is."""
    values = np.random.default_rng(patient).integers(0, 50, SHAPE) + GREY[channel]
    return values.astype(np.float32)


Writer = Callable[..., Path]
MASK = (np.indices(SHAPE)[0] > 2).astype(np.uint8)


def write_nnunet(root: Path, save: Writer, order: tuple[str, ...]) -> dict[str, Any]:
    for n in range(2):
        for place, channel in enumerate(order):
            save(root / f"imagesTr/c{n}_{place:04}.nii.gz", image_of(channel, n))
        save(root / f"labelsTr/c{n}.nii.gz", MASK)
    names = {str(place): channel for place, channel in enumerate(order)}
    document = {"channel_names": names, "labels": {"background": 0, "organ": 1}, "file_ending": ".nii.gz"}
    (root / "dataset.json").write_text(json.dumps(document))
    return {}


def write_volumes(root: Path, save: Writer, order: tuple[str, ...]) -> dict[str, Any]:
    """Write one file a patient, with a volume for each channel; the site says which is which."""
    for n in range(2):
        save(root / f"i{n}.nii.gz", np.stack([image_of(channel, n) for channel in order], -1))
        save(root / f"m{n}.nii.gz", MASK)
    (root / "index.csv").write_text("image,label,patient\ni0.nii.gz,m0.nii.gz,P0\ni1.nii.gz,m1.nii.gz,P1\n")
    return {"channels": order}


def write_msd(root: Path, save: Writer, order: tuple[str, ...]) -> dict[str, Any]:
    write_volumes(root, save, order)
    (root / "index.csv").unlink()
    rows = [{"image": f"i{n}.nii.gz", "label": f"m{n}.nii.gz"} for n in range(2)]
    names = {str(place): channel for place, channel in enumerate(order)}
    document = {"modality": names, "labels": {"0": "background", "1": "organ"}, "training": rows}
    (root / "dataset.json").write_text(json.dumps(document))
    return {}


def write_bids(root: Path, save: Writer, order: tuple[str, ...]) -> dict[str, Any]:
    for n in range(2):
        for channel in order:
            save(root / f"sub-{n}/anat/sub-{n}_{channel}.nii.gz", image_of(channel, n))
        save(root / f"sub-{n}/anat/sub-{n}_mask.nii.gz", MASK)
    (root / "dataset_description.json").write_text("{}")
    return {}


def write_folders(root: Path, save: Writer, order: tuple[str, ...]) -> dict[str, Any]:
    for n in range(2):
        for channel in order:
            save(root / f"p{n}/scan_{channel.lower()}.nii.gz", image_of(channel, n))
        save(root / f"p{n}/mask.nii.gz", MASK)
    return {"layout": "folders", "image": ",".join(order)}


def write_columns(root: Path, save: Writer, order: tuple[str, ...]) -> dict[str, Any]:
    """Write an index with a column for each channel, of its name."""
    write_folders(root, save, order)
    rows = [",".join([*(f"p{n}/scan_{c.lower()}.nii.gz" for c in order), f"p{n}/mask.nii.gz,P{n}"]) for n in range(2)]
    (root / "index.csv").write_text("\n".join([",".join([*order, "label,patient"]), *rows]))
    return {"image": ",".join(order)}


def write_scans(root: Path, save: Writer, order: tuple[str, ...]) -> dict[str, Any]:
    """Write an index whose columns have names of their own; the site says which is which."""
    write_columns(root, save, order)
    columns = ",".join(f"scan{n}" for n in range(len(order)))
    index = root / "index.csv"
    index.write_text(index.read_text().replace(",".join(order), columns))
    return {"image": columns, "channels": order}


LAYOUTS = [write_nnunet, write_msd, write_bids, write_folders, write_columns, write_scans, write_volumes]


@pytest.mark.parametrize("order", [("T1", "FLAIR"), ("FLAIR", "T1"), ("T2", "FLAIR", "T1")], ids="-".join)
@pytest.mark.parametrize("write", LAYOUTS)
def test_the_study_gets_its_channels_in_its_order(
    tmp_path: Path,
    save_nifti: Writer,
    make_site: SiteMaker,
    make_study: StudyMaker,
    write: Callable[..., dict[str, Any]],
    order: tuple[str, ...],
) -> None:
    root = tmp_path / "data"
    site = make_site(root, **write(root, save_nifti, order))
    study = make_study(task__channels="T1,FLAIR")
    cohort = read_cohort(site, study)
    assert len(cohort.cases) == 2
    for case in cohort.cases:
        volume, _ = load_case(case, study, site)
        assert [int(channel.mean()) // 100 * 100 for channel in volume.array] == [GREY["T1"], GREY["FLAIR"]]


def test_the_store_keeps_orders_apart(tmp_path: Path, save_nifti: Writer, make_site: SiteMaker, make_study: StudyMaker) -> None:
    root = tmp_path / "data"
    said = write_volumes(root, save_nifti, ("T1", "FLAIR"))
    study = make_study(task__channels="T1,FLAIR", preprocessing__intensity="window", preprocessing__window="0,400")
    for channels, expected in (("T1", "FLAIR"), [0, 1]), (("FLAIR", "T1"), [1, 0]):
        case = prepare_cases(make_site(root, **said | {"channels": channels}), study).cases[0]
        assert np.argsort([channel.mean() for channel in case.image]).tolist() == expected


@pytest.mark.parametrize(
    ("channels", "words"),
    [
        ((), "nothing says which of the images here is which"),
        (("T1", "T2"), "the channels here are T1, T2; the study needs T1, FLAIR"),
        (("T1", "t1"), "the channels here are T1, t1"),
    ],
    ids=str,
)
def test_what_is_not_certain_is_refused_with_what_to_write(
    tmp_path: Path,
    save_nifti: Writer,
    make_site: SiteMaker,
    make_study: StudyMaker,
    channels: tuple[str, ...],
    words: str,
) -> None:
    root = tmp_path / "data"
    write_volumes(root, save_nifti, ("T1", "FLAIR"))
    study = make_study(task__channels="T1,FLAIR")
    with pytest.raises(DataError, match=words) as caught:
        read_cohort(make_site(root, channels=channels), study)
    assert caught.value.code == "CHANNEL-NAMES"
    assert 'channels = "T1,FLAIR" in [data]' in caught.value.fix
    refusal = check_site(make_site(root, channels=channels), study)[0].refusal
    assert refusal is not None
    assert refusal.code == "CHANNEL-NAMES"


def test_names_of_the_data_set_are_not_guessed(
    tmp_path: Path, save_nifti: Writer, make_site: SiteMaker, make_study: StudyMaker
) -> None:
    root = tmp_path / "data"
    write_nnunet(root, save_nifti, ("T1", "FLAIR"))
    study = make_study(task__channels="T1w,FLAIR")
    with pytest.raises(DataError, match="CHANNEL-NAMES"):
        read_cohort(make_site(root), study)
    cohort = read_cohort(make_site(root, channels=("t1W", "Flair")), study)  # the site says which they are
    assert len(cohort.cases) == 2


def test_free_text_of_a_data_set_is_not_repeated(
    tmp_path: Path, save_nifti: Writer, make_site: SiteMaker, make_study: StudyMaker
) -> None:
    root = tmp_path / "data"
    write_nnunet(root, save_nifti, ("T1", "FLAIR"))
    document = json.loads((root / "dataset.json").read_text())
    study = make_study(task__channels="T1,FLAIR")
    for names, shown in (
        (["T1", "CANARY Anna 1961"], "T1, 1 other name"),
        (["CANARY T1", "CANARY"], "2 names"),
        (["MPRAGE", "T2-FLAIR"], "MPRAGE, T2-FLAIR"),
    ):
        document["channel_names"] = {str(place): name for place, name in enumerate(names)}
        (root / "dataset.json").write_text(json.dumps(document))
        with pytest.raises(DataError, match=f"CHANNEL-NAMES.*the channels here are {shown}; the study needs T1, FLAIR"):
            read_cohort(make_site(root), study)


@pytest.mark.parametrize(
    ("wanted", "image", "fits"),
    [
        ("T2", "T2w", True),
        ("T2", "T1w", False),
        ("T2", "*_FLAIR.nii.gz", False),
        ("T2", "*T2_FLAIR*", False),
        ("FLAIR", "*T2_FLAIR*", True),
        ("T1", "*T1_ce*", False),
        ("scan", "T1w", True),
        ("T1", "*", True),
    ],
)
def test_one_channel_is_not_taken_from_images_of_another_name(
    tmp_path: Path, save_nifti: Writer, make_site: SiteMaker, make_study: StudyMaker, wanted: str, image: str, fits: bool
) -> None:
    root = tmp_path / "data"
    name = image.strip("*_").removesuffix(".nii.gz") or "x"
    save_nifti(root / "p0" / f"a_{name}.nii.gz", image_of("T1"))
    save_nifti(root / "p0" / "label.nii.gz", MASK)
    site, study = make_site(root, image=image if image != "*" else "a_*"), make_study(task__channels=wanted)
    if fits:
        assert len(read_cohort(site, study).cases) == 1
    else:
        with pytest.raises(DataError, match=r"CHANNEL-NAMES.*site\.toml names"):
            read_cohort(site, study)
        site = site.model_copy(update={"data": site.data.model_copy(update={"channels": (wanted,)})})
        read_cohort(site, study)  # the site says that they are


def test_one_channel_of_several_is_taken_by_its_name(
    tmp_path: Path, save_nifti: Writer, make_site: SiteMaker, make_study: StudyMaker
) -> None:
    root = tmp_path / "data"
    write_nnunet(root, save_nifti, ("T1", "FLAIR"))
    study, site = make_study(task__channels="FLAIR"), make_site(root)
    volume, _ = load_case(read_cohort(site, study).cases[0], study, site)
    assert len(volume.array) == 1
    assert volume.array.mean() > GREY["FLAIR"]


def test_pictures_have_named_channels_too(tmp_path: Path, make_site: SiteMaker, make_study: StudyMaker) -> None:
    rng = np.random.default_rng(0)
    for name, grey in (("a", 10), ("b", 150)):
        Image.fromarray((rng.integers(0, 50, (8, 8)) + grey).astype(np.uint8)).save(tmp_path / f"{name}.png")
    (tmp_path / "index.csv").write_text("early,late,label,patient\na.png,b.png,benign,P\n")
    task = {"task__kind": "classification", "task__classes": "benign,malignant", "task__modality": "US", "task__dimension": 2}
    study, site = make_study(**task, task__channels="late,early"), make_site(tmp_path, image="early,late")
    volume, _ = load_case(read_cohort(site, study).cases[0], study, site)
    assert volume.array[0].mean() > 100 > volume.array[1].mean()


def test_a_number_of_channels_is_no_name(make_study: StudyMaker) -> None:
    assert make_study().task.channel_count == 1
    assert make_study(task__channels="T1, FLAIR").task.channel_names == ("T1", "FLAIR")
    for wrong, words in ((2, "says how many, but not which"), ("T1,t1", "all of them different"), ("T1,", "a name for each")):
        with pytest.raises(ConfigError, match=words):
            make_study(task__channels=wrong)


def test_a_study_of_an_older_version_is_refused_at_the_site(
    tmp_path: Path, save_nifti: Writer, make_site: SiteMaker, make_study: StudyMaker
) -> None:
    root = tmp_path / "data"
    write_nnunet(root, save_nifti, ("T1", "FLAIR"))
    study = make_study()
    older = study.model_copy(update={"task": study.task.model_copy(update={"channels": 2})})
    with pytest.raises(DataError, match="does not name them"):
        read_cohort(make_site(root), older)


def test_a_check_without_a_study_names_the_channels_as_they_are_found(
    tmp_path: Path, save_nifti: Writer, make_site: SiteMaker
) -> None:
    root = tmp_path / "data"
    write_nnunet(root, save_nifti, ("FLAIR", "T1"))
    check, study = check_site(make_site(root))
    assert study is not None
    assert study.task.channel_names == ("FLAIR", "T1")
    assert len(check.usable) == 2
    assert "Channels: FLAIR, T1." in check.assumed


def test_patterns_of_files_name_nothing() -> None:
    assert names_in_patterns("T1, FLAIR") == ("T1", "FLAIR")
    for pattern in ("image", "a/{id}.nii,b/{id}.nii", "*t1*,*flair*", "t1.nii.gz,flair.nii.gz"):
        assert names_in_patterns(pattern) == ()
