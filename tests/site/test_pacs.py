"""The table ``pacs`` of a site.toml."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tomli_w

from medfl.data.pacs.pull import pull_series
from medfl.errors import ConfigError
from medfl.site import read_site

WEB = {"kind": "dicomweb", "url": "https://pacs.example/dicom-web"}
DIMSE = {"kind": "dimse", "host": "pacs.example", "port": 104, "ae-title": "PACS"}
QUERY = {"modalities": "CT,SEG", "study-dates": "20240101-"}


def read(tmp_path: Path, table: dict[str, Any], query: dict[str, Any] | None = None) -> Any:
    values = {"name": "north", "pacs": {**table, "query": QUERY if query is None else query}}
    (tmp_path / "site.toml").write_text(tomli_w.dumps(values))
    return read_site(tmp_path).pacs


@pytest.mark.parametrize("table", [WEB, DIMSE, DIMSE | {"move": "10.0.0.5:11112"}, WEB | {"hours": "19-06"}])
def test_a_pacs_is_read_with_careful_defaults(table: dict[str, Any], tmp_path: Path) -> None:
    pacs = read(tmp_path, table)
    assert (pacs.max_parallel, pacs.retries, pacs.calling_ae_title) == (2, 3, "MEDFL")
    assert pacs.query.modalities == ("CT", "SEG")


def test_a_pacs_that_is_only_sent_to_needs_no_query(tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text(tomli_w.dumps({"name": "north", "pacs": WEB}))
    site = read_site(tmp_path)
    assert site.pacs is not None
    assert site.pacs.query is None
    with pytest.raises(ConfigError, match=r"pacs\.query: this table is required"):
        pull_series(site)


def test_a_site_needs_no_pacs(tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text('name = "north"\n')
    assert read_site(tmp_path).pacs is None


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"kind": "dicomweb"}, "needs url"),
        (WEB | {"url": "ftp://pacs.example"}, "needs url"),
        (WEB | {"host": "pacs.example"}, "no use for host"),
        ({"kind": "dimse", "host": "pacs.example"}, "needs port, ae-title"),
        (DIMSE | {"user-env": "A", "password-env": "B"}, "no use for user-env, password-env"),
        (DIMSE | {"ae-title": "LONGER THAN SIXTEEN"}, "ae-title"),
        (DIMSE | {"move": "11112"}, "pacs.move"),
        (DIMSE | {"ca-file": "ca.pem"}, "tls is not true"),
        (DIMSE | {"tls": True, "move": "10.0.0.5:11112"}, "needs cert-file and key-file for C-MOVE"),
        (WEB | {"cert-file": "own.pem"}, "cert-file and key-file together"),
        (WEB | {"user-env": "A"}, "user-env and password-env together"),
        (WEB | {"user-env": "A", "password-env": "B", "credentials-file": "c"}, "not both"),
        (WEB | {"hours": "25-06"}, "pacs.hours"),
        (WEB | {"hours": "06-06"}, "no length"),
        (WEB | {"max-parallel": 0}, "pacs.max-parallel"),
        (WEB | {"password": "secret-word"}, "there is no such key"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(table: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, table)
    assert message in str(caught.value)
    assert "secret-word" not in str(caught.value)


def test_a_password_in_the_url_is_refused_and_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has a user or password in url") as caught:
        read(tmp_path, WEB | {"url": "https://reader:secret-word@pacs.example/dicom-web"})
    assert "secret-word" not in str(caught.value)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"study-dates": "20240101-"}, "needs modalities"),
        ({"modalities": "CT"}, "the whole PACS"),
        ({"modalities": "CT", "study-dates": "2024"}, "pacs.query.study-dates"),
        ({"modalities": "CT", "patients": "a.txt", "accessions": "b.txt"}, "not both"),
    ],
)
def test_a_query_must_be_bounded(query: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, WEB, query)
    assert message in str(caught.value)
