"""The table `[pacs]` of a site.toml: which PACS to query, how, when, and for what."""

from __future__ import annotations

from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from medfl.schema import Section, Strings
from medfl.study.sections import NotNegative, Positive

_DATES_FORM = 'days or a range of them, as "20240131", "20240101-20241231", "20240101-" or "-20241231"'
HOURS_PATTERN = r"^(([01]\d|2[0-3])-([01]\d|2[0-4]))?$"
DATES_PATTERN = r"^(\d{8}|\d{8}-(\d{8})?|-\d{8})?$"
ADDRESS_PATTERN = r"^([^\s:]+:\d{1,5})?$"
_AE_FORM = "an AE title: 1 to 16 ASCII characters without a backslash, not beginning with a blank"
AETitle = Annotated[
    str, Field(pattern=r"^([!-\[\]-~][ -\[\]-~]{0,15})?$", description=_AE_FORM)
]  # DICOM PS3.5, value representation AE
Port = Annotated[int, Field(ge=0, le=65535)]


class PacsQuery(Section):
    """Query for the studies to fetch from the PACS."""

    modalities: Strings = ()  # "CT,SEG": SEG and RTSTRUCT are fetched with the studies of the images
    study_dates: Annotated[str, Field(pattern=DATES_PATTERN, description=_DATES_FORM)] = (
        ""  # "20240101-20241231", "20240101-", "-20241231"
    )
    patients: str = ""  # file with one PatientID a line, relative to the site.toml
    accessions: str = ""  # file with one accession number a line
    descriptions: Strings = ()  # patterns of SeriesDescription, "*axial*,*thin*"; empty: all

    @model_validator(mode="after")
    def _check_bounded(self) -> Self:
        if not self.modalities:
            raise ValueError('needs modalities, as "CT" or "CT,SEG"')
        if not (self.study_dates or self.patients or self.accessions):
            raise ValueError("needs study-dates, patients or accessions: without them it would ask for the whole PACS")
        if self.patients and self.accessions:
            raise ValueError("takes patients or accessions, not both")
        return self


class Pacs(Section):
    """Connection to the hospital's PACS. It holds no password, only where to find it."""

    kind: Literal["dicomweb", "dimse"]
    url: str = ""  # dicomweb: "https://pacs.example/dicom-web"
    host: str = ""  # dimse
    port: Port = 0
    ae_title: AETitle = ""  # of the PACS
    calling_ae_title: AETitle = "MEDFL"  # medfl's own, known to the PACS
    move: Annotated[str, Field(pattern=ADDRESS_PATTERN, description='an address and a port, as "10.0.0.5:11112"')] = (
        ""  # own "address:port" for C-MOVE; empty: C-GET
    )
    tls: bool = False  # dimse; with dicomweb the url says it
    ca_file: str = ""  # who signed the PACS's certificate; empty: the system's authorities
    cert_file: str = ""  # own certificate and key, for a PACS that wants one
    key_file: str = ""
    user_env: str = ""  # names of environment variables
    password_env: str = ""
    credentials_file: str = ""  # of mode 0600: the user in the first line, the password in the second
    max_parallel: Annotated[int, Field(ge=1, le=16)] = 2  # series at once
    hours: Annotated[str, Field(pattern=HOURS_PATTERN, description='two hours, as "19-06"')] = (
        ""  # "19-06": local hours in which the PACS may be asked; empty: any
    )
    retries: NotNegative = 3  # further attempts, after 1, 2, 4, ... seconds
    timeout: Positive = 60  # seconds of silence after which the PACS counts as gone
    query: PacsQuery | None = None  # what `medfl data pull` asks for; not needed to send

    @model_validator(mode="after")
    def _check_consistent(self) -> Self:
        if problem := (_check_dicomweb if self.kind == "dicomweb" else _check_dimse)(self) or _check_common(self):
            raise ValueError(problem)
        return self


def _check_dicomweb(pacs: Pacs) -> str:
    parts = urlsplit(pacs.url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return 'of kind dicomweb needs url, as "https://pacs.example/dicom-web"'
    if parts.username or parts.password:
        return "has a user or password in url: name them with user-env and password-env, or credentials-file"
    foreign = [key for key in ("host", "port", "ae_title", "move", "tls") if getattr(pacs, key)]
    return f"of kind dicomweb has no use for {_format_keys(foreign)}" if foreign else ""


def _check_dimse(pacs: Pacs) -> str:
    missing = [key for key in ("host", "port", "ae_title") if not getattr(pacs, key)]
    if missing:
        return f"of kind dimse needs {_format_keys(missing)}"
    foreign = [key for key in ("url", "user_env", "password_env", "credentials_file") if getattr(pacs, key)]
    if foreign:
        return f"of kind dimse has no use for {_format_keys(foreign)}: DICOM knows callers by AE title, address and certificate"
    if pacs.move and pacs.tls and not pacs.cert_file:
        return "needs cert-file and key-file for C-MOVE with tls: medfl is the server then"
    if not pacs.tls and (pacs.ca_file or pacs.cert_file):
        return "names certificates, but tls is not true"
    return ""


def _check_common(pacs: Pacs) -> str:
    if bool(pacs.cert_file) != bool(pacs.key_file):
        return "needs cert-file and key-file together"
    if bool(pacs.user_env) != bool(pacs.password_env):
        return "needs user-env and password-env together"
    if pacs.user_env and pacs.credentials_file:
        return "takes user-env and password-env, or credentials-file, not both"
    begin, _, end = pacs.hours.partition("-")
    return "has hours of no length" if pacs.hours and begin == end else ""


def _format_keys(names: list[str]) -> str:
    return ", ".join(name.replace("_", "-") for name in names)
