"""Groups of patients by columns of an index: values and pseudonyms, and nothing else of a patient."""

from __future__ import annotations

from pathlib import Path

import pytest

from medfl.data.patient_groups import read_patient_groups
from medfl.data.pseudonyms import patient_pseudonym
from medfl.data.simulated_sites import make_site, read_simulated_sites
from medfl.errors import ConfigError, DataError
from medfl.site import Site, SiteData
from medfl.study import Simulation

INDEX = """image,label,patient,site,sex,age,view
1.png,1,Anna,north,F,17,PA
2.png,0,Bert,north,M,40.0,PA
3.png,0,Bert,north,M,40.0,AP
4.png,1,Cora,north,,64,PA
5.png,1,Dirk,south,M,65,PA
"""


def sites_of(tmp_path: Path, index: str = INDEX) -> tuple[Site, ...]:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "index.csv").write_text(index)
    settings = {"data": str(folder), "store": str(tmp_path / "store"), "partition": "column", "column": "site"}
    return read_simulated_sites(Simulation.model_validate(settings))


def test_patients_are_grouped_by_pseudonym(tmp_path: Path) -> None:
    sites = sites_of(tmp_path)
    groups = read_patient_groups(sites, ["sex", "age", "view"])
    names = {"Anna": "north", "Bert": "north", "Cora": "north", "Dirk": "south"}
    place = {name: (site, patient_pseudonym(sites[0].secret(), site, name)) for name, site in names.items()}
    told = {name: tuple(groups[column][place[name]] for column in ("sex", "age", "view")) for name in names}
    assert told == {
        "Anna": ("F", "under 18", "PA"),
        "Bert": ("M", "40 to 64", "several"),
        "Cora": ("not known", "40 to 64", "PA"),
        "Dirk": ("M", "65 and over", "PA"),
    }
    assert "Anna" not in str(groups)
    assert len(groups["sex"]) == 4


@pytest.mark.parametrize(
    ("cells", "group"),
    [
        (("045Y",), "40 to 64"),
        (("018M",), "under 18"),
        (("216M",), "18 to 39"),
        (("300w",), "under 18"),
        (("999D",), "under 18"),
        (("0",), "under 18"),
        (("nan",), "not known"),
        (("inf",), "not known"),
        (("-1",), "not known"),
        (("999",), "not known"),
        (("999Y",), "not known"),
        (("nan", "45"), "40 to 64"),
        (("045Y", "45"), "40 to 64"),
        (("elderly",), "elderly"),
    ],
)
def test_an_age_has_a_band_unless_no_person_has_it(tmp_path: Path, cells: tuple[str, ...], group: str) -> None:
    rows = [f"{k}.png,1,Anna,north,{cell}" for k, cell in enumerate(cells)]
    groups = read_patient_groups(sites_of(tmp_path, "\n".join(["image,label,patient,site,age", *rows])), ["age"])
    assert list(groups["age"].values()) == [group]


def test_a_column_of_names_or_dates_is_no_group(tmp_path: Path) -> None:
    rows = [f"{k}.png,1,p{k},north,2020-01-{k}" for k in range(10, 25)]
    sites = sites_of(tmp_path, "\n".join(["image,label,patient,site,date", *rows]))
    with pytest.raises(ConfigError, match="15 different values"):
        read_patient_groups(sites, ["date"])
    with pytest.raises(DataError, match="INDEX-COLUMN"):
        read_patient_groups(sites, ["sex"])


def test_without_an_index_of_patients_there_are_no_groups(tmp_path: Path) -> None:
    site = make_site("north", tmp_path, SiteData(), str(tmp_path), tmp_path / "secret")
    with pytest.raises(ConfigError, match="no CSV index"):
        read_patient_groups([site], ["sex"])
    assert read_patient_groups([site], []) == {}
