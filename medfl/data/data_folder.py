"""What a command takes for data: a site.toml or its folder, any folder of images, the table of one, or a single image."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from medfl.data.layouts.columns import has_column
from medfl.data.layouts.file_spellings import find_table
from medfl.data.layouts.sources import is_image_file
from medfl.data.layouts.table import CSV_SUFFIXES, read_table
from medfl.data.pseudonyms import pseudonym
from medfl.data.simulated_sites import SECRET_FILE, make_site
from medfl.data.store.cache_folder import default_store_root
from medfl.data.store.private_folder import unwritable_error
from medfl.errors import DataError
from medfl.site import Site, SiteData, ensure_secret, read_site

_SITE_FILE = "site.toml"
_NAME = "images"  # of a folder whose own name has no letter


@dataclass(frozen=True)
class DataFolder:
    """Data that somebody named on the command line.

    Parameters
    ----------
    site : Site
        The hospital, or the folder as if it were one.
    is_described : bool
        Whether a site.toml says how the data is organised.
    only : Path, optional
        The one image file that is meant.
    """

    site: Site
    is_described: bool = False
    only: Path | None = None

    @property
    def pseudonym(self) -> str:
        """Name of this data that tells nobody where it lies, ``data-XXXXXXXXXXXXXXXX``: a keyed hash.

        Raises
        ------
        DataError
            ``SITE-SECRET``.
        """
        site = self.site
        if self.is_described:
            return pseudonym(site.secret(), "data", site.name, n=16)
        paths = [os.fsencode(path).hex() for path in (site.root.resolve(), self.only or "")]  # many folders have one name
        return pseudonym(site.secret(), "data", site.name, *paths, site.data.layout, site.data.index, n=16)


def open_data_folder(path: Path) -> DataFolder:
    """Open data as somebody names it.

    A folder without a site.toml is read as `medfl.simulate` reads it: its pseudonyms are keyed with the secret of this
    machine's store, and every layout is tried.

    Parameters
    ----------
    path : Path
        A ``site.toml`` or the folder that holds one, a folder of images, a table of images (CSV, TSV), or one NIfTI or picture.

    Raises
    ------
    ConfigError
        When the site.toml is not valid.
    DataError
        ``DATA-ROOT`` when there is nothing there, ``IMG-FORMAT`` for a file that is none of these, ``STORE-UNWRITABLE``.
    """
    if path.suffix == ".toml" or (path / _SITE_FILE).is_file():
        return DataFolder(read_site(path), is_described=True)
    if path.is_dir():
        return DataFolder(_plain_site(path, _with_patients(SiteData(), find_table(path, SiteData().index))))
    if not path.exists():
        raise DataError(
            "DATA-ROOT", "the data that was named does not exist.", "Name a site.toml, a folder, a table or an image."
        )
    if path.name.lower().endswith(CSV_SUFFIXES):
        settings = SiteData(layout="csv", index=path.name)
        return DataFolder(_plain_site(path.parent, _with_patients(settings, path)))
    if is_image_file(path.name):
        return DataFolder(_plain_site(path.parent, SiteData()), only=path.resolve())
    what = "the data that was named is neither a folder, nor a table, nor a NIfTI or picture file."
    raise DataError("IMG-FORMAT", what, "Of DICOM, name the folder of the series.")


def _with_patients(settings: SiteData, table: Path) -> SiteData:
    """Return how a table of images is read: where it names no patients, each image is one."""
    try:
        columns = read_table(table, settings.patient, settings.label, settings.image).columns
    except DataError:  # whoever needs it says what is wrong with it
        return settings
    no_patients = has_column(columns, settings.image) and not has_column(columns, settings.patient)
    return settings.model_copy(update={"patient": ""}) if no_patients else settings


def _plain_site(folder: Path, data: SiteData) -> Site:
    secret = default_store_root() / SECRET_FILE
    try:
        ensure_secret(secret)
    except OSError as error:
        raise unwritable_error(error) from None
    folder = folder.resolve()
    name = folder.name if any(letter.isascii() and letter.isalnum() for letter in folder.name) else _NAME
    return make_site(name, folder, data, "", secret)
