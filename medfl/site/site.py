"""The site.toml of a hospital: where its data is, how it is labelled, what may be used, and its policy."""

from __future__ import annotations

import contextlib
import re
import secrets
import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator

from medfl.errors import ConfigError, DataError, Problem
from medfl.schema import NameMap, Section, Strings, read_section
from medfl.site.federation_settings import SiteFederation
from medfl.site.pacs import Pacs
from medfl.site.policy import Policy
from medfl.site.simulated_site import SimulatedSite
from medfl.study.image_conditions import ImageConditions
from medfl.study.sections import Positive
from medfl.system.files import write_file
from medfl.system.spelling import are_distinct

SECRET_BYTES = 32
CLIENT_ENTRY_POINTS = "medfl.clients"  # group of entry points in which installed packages offer client algorithms
SITE_NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"  # names of sites become parts of file names on the server


def _check_site_name(name: str) -> str:
    if not re.fullmatch(SITE_NAME_PATTERN, name):
        raise ValueError("must be 1 to 64 letters (a to z), digits, '.', '_' or '-', and begin with a letter or digit")
    return name


def _check_classes(names: tuple[str, ...]) -> tuple[str, ...]:
    if not are_distinct(names):
        raise ValueError("names one class twice: case and blanks do not count, and 1 and 1.0 are one number")
    return names


class SiteData(Section):
    """Images and labels of a site: where they are, and how to read them."""

    root: str = "."  # relative to the site.toml
    layout: Literal["auto", "csv", "bids", "msd", "nnunet", "folders", "dicom"] = "auto"
    index: str = "index.csv"  # layout csv
    image: str = "image"  # csv: a column, or a pattern as "images/{id}.nii.gz"; folders: a file pattern
    channels: Strings = ()  # the study's names of the channels, in the order in which this site has them
    label: str = "label"
    patient: str = "patient"  # csv column; empty: one image is one patient
    where: str = ""  # csv: "column=a|b" keeps rows; "column!=" drops the empty ones
    select: ImageConditions = ""  # DICOM images that are meant, beside the study's `select`: "ViewPosition=PA|AP"
    select_missing: Literal["leave-out", "use"] = "leave-out"  # images without an attribute that a `select` names
    label_geometry: Literal["strict", "resample"] = "strict"  # resample: masks on another grid, nearest neighbour
    mask_axes: Literal["refuse", "columns-rows", "rows-columns"] = "refuse"  # of NIfTI beside pictures without a position
    mask_values: Literal["drawn", "shown", "stored"] = "drawn"  # of pictures, where what is stored and what is shown differ
    label_match: Literal["references", "frame-of-reference"] = "references"  # how a DICOM label finds its series
    label_names: NameMap = ()  # name of a segment or ROI at this site = class of the study
    annotated_classes: Strings = ()  # foreground classes that are annotated at this site; empty: all
    negatives: bool = False  # whether a case without any marked voxel is a true negative
    nifti_form: Literal["strict", "sform", "qform"] = "strict"  # which of the two counts where they differ
    gantry_tilt: Literal["refuse", "resample"] = "refuse"  # resample: straighten tilted series on import
    nonuniform: Literal["refuse", "resample"] = "refuse"  # resample: interpolate uneven slice distances
    min_slices: Positive = 8  # a DICOM series with fewer is not a volume
    max_megapixels: Positive = 100  # size of a picture, in millions, that a header may declare
    max_megavoxels: Positive = 600  # size of a volume, likewise: 512 x 512 x 2000 and some more
    allow_headerless: bool = False  # read DICOM files that lack the 128-byte preamble
    allow_predictions: bool = False  # take masks that medfl predicted for labels
    burned_in: Literal["exclude", "allow"] = "exclude"  # kinds of images that often have names drawn into them
    converter: Literal["none", "dcm2niix"] = "none"  # dcm2niix converts what medfl refuses; its warnings are errors


class Resources(Section):
    """Resources that a study may use at this site."""

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    store: str = ""  # folder for prepared data; empty: the user's cache


class Site(Section):
    """A hospital, validated and frozen."""

    name: Annotated[str, AfterValidator(_check_site_name)]
    secret_file: str = "site.secret"  # 32 bytes made by `medfl site init`; names pseudonyms, never leaves
    data: SiteData = SiteData()
    policy: Policy = Policy()
    resources: Resources = Resources()
    federation: SiteFederation | None = None  # where the server is, for a site that takes part in one
    pacs: Pacs | None = None  # where `medfl data pull` gets images from
    classes: Annotated[  # names of the labels at this site where they differ from the study's, in the study's order
        Strings, AfterValidator(_check_classes)
    ] = ()
    folder: Path = Path()  # of the site.toml; set on reading
    simulated: SimulatedSite | None = None  # set by a simulation

    @property
    def root(self) -> Path:
        """Absolute folder of the data."""
        return (self.folder / self.data.root).resolve()

    def secret(self) -> bytes:
        """Return the secret that pseudonyms are keyed with.

        Raises
        ------
        DataError
            ``SITE-SECRET`` when it is missing, too short or cannot be read.
        """
        path = self.folder / self.secret_file
        try:
            value = path.read_bytes()
        except FileNotFoundError:
            value = b""
        except OSError:
            what = f"the secret of site {self.name} cannot be read."
            raise DataError("SITE-SECRET", what, "Check its permissions: the account that runs medfl must read it.") from None
        if len(value) < SECRET_BYTES:
            raise DataError(
                "SITE-SECRET",
                f"the secret of site {self.name} is missing or too short.",
                "Restore it from a copy. Without one, run 'medfl site init' in an empty folder and take the secret from there; "
                "the pseudonyms of all patients change then.",
            )
        return value


def read_site(path: Path) -> Site:
    """Read and validate a ``site.toml``.

    Parameters
    ----------
    path : Path
        The file, or its folder.

    Raises
    ------
    ConfigError
        If the file is invalid, with all its problems.
    """
    file = path / "site.toml" if path.is_dir() else path
    text = ""
    try:
        text = file.read_text(encoding="utf-8")
        values = tomllib.loads(text)
    except FileNotFoundError:
        raise ConfigError(
            [Problem(file.name, "(whole file)", "there is no such file.", "Make one with 'medfl site init'.")]
        ) from None
    except OSError:
        fix = "Check its permissions: the account that runs medfl must read it."
        raise ConfigError([Problem(file.name, "(whole file)", "the file cannot be read.", fix)]) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        fix = 'Write paths with "/"; in WSL the folder C:\\daten is root = "/mnt/c/daten".' if "\\" in text else ""
        raise ConfigError([Problem(file.name, "(whole file)", f"this is not valid TOML: {error}.", fix)]) from None
    set_by_medfl = [key for key in ("folder", "simulated") if values.pop(key, None) is not None]
    foreign = [Problem(file.name, key, "there is no such key here.") for key in set_by_medfl]
    try:
        site = read_section(Site, values, file.name)
    except ConfigError as error:
        raise ConfigError([*foreign, *error.problems]) from None
    if foreign:
        raise ConfigError(foreign)
    return site.model_copy(update={"folder": file.resolve().parent})


def ensure_secret(path: Path) -> None:
    """Make a secret file of mode 0600 unless it exists; safe against a second process that does the same."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):  # another process was first, and its secret is the one
        write_file(path, secrets.token_bytes(SECRET_BYTES), private=True, replace=False)


_TEMPLATE = """\
# A hospital's own terms. Neither the server nor a study can loosen the policy.
name = "{name}"
secret-file = "site.secret"

[data]
root = "{root}"       # folder of the images; one that is not absolute is looked for beside this file
layout = "auto"       # auto, csv, bids, msd, nnunet, folders or dicom

[policy]
min-count = 10        # what counts fewer patients stays here; at least 5, or 0 to switch the rule off
min-cases = 10        # usable training cases, below which this site declines
max-excluded = 0.1    # share of cases left out, above which this site declines
keep-models = true    # the model that a study chose stays here, in the folder models: medfl site models
previews = false      # pictures of test images, kept on this machine for 'medfl report --cases'

[resources]
device = "auto"       # auto, cpu, cuda or mps
"""


def init_site(folder: Path, name: str, root: str) -> Path:
    """Write a ``site.toml`` to edit and the site's secret; an existing file is never overwritten.

    Parameters
    ----------
    folder : Path
        Where both go.
    name : str
        Name of the site.
    root : str
        Folder of the images, relative to `folder`.

    Returns
    -------
    Path
        The ``site.toml``.

    Raises
    ------
    ConfigError
        When the name is not valid, or the file exists already.
    """
    path = folder / "site.toml"
    if path.exists():
        raise ConfigError([Problem(path.name, "(whole file)", "the file is already there.", "Edit it, or move it away first.")])
    read_section(Site, {"name": name}, "site.toml")
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(_TEMPLATE.format(name=name, root=root.replace("\\", "/").replace('"', "")), encoding="utf-8")
    ensure_secret(folder / "site.secret")
    return path
