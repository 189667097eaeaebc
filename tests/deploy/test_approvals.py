"""Approvals of a site: private files that let nothing in unless they are exactly what was approved."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from medfl import __version__
from medfl.deploy.approvals import approve, approved_studies, list_approvals, require_approved, withdraw
from medfl.deploy.bundle import read_bundle_study
from medfl.errors import DeployError, PolicyError
from medfl.site import Site, init_site, read_site
from medfl.study import Study, read_study


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return read_site(init_site(tmp_path / "site", "hospital-a", "."))


@pytest.fixture
def study(nodule_study: Path) -> Study:
    return read_bundle_study(nodule_study)


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_an_approval_is_private_and_holds_what_was_approved(site: Site, study: Study) -> None:
    path = approve(site, study)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    record = json.loads(path.read_text())
    assert (record["hash"], record["medfl"], record["study"]["name"]) == (study.approved_hash(), __version__, "nodule")
    assert path.stem == study.approved_hash()
    assert approved_studies(read_site(site.folder))[0].study == study


def test_an_approval_that_an_earlier_version_wrote_holds(site: Site, nodule_study: Path) -> None:
    text = (Path(__file__).parent / "records" / "approval-before-arms-moved.json").read_text()
    study = read_study(nodule_study, {"arms": "federated,local"})
    path = approve(site, study)
    path.write_text(text)
    require_approved(site, study)
    assert [approval.study for approval in approved_studies(site)] == [study]
    path.write_text(text.replace('"local"', '"federated"'))
    with pytest.raises(PolicyError, match="APPROVAL-DAMAGED"):
        require_approved(site, study)


@pytest.mark.parametrize(
    "content",
    ["", "{}", "[]", "null", "{", '{"medfl": 1, "approved": 1}', '{"medfl": "x", "approved": "x", "study": []}', "[" * 99_999],
)
def test_a_file_that_is_not_an_approval_lets_nothing_in(content: str, site: Site, study: Study) -> None:
    approve(site, study).write_text(content)
    with pytest.raises(PolicyError, match="APPROVAL-"):
        require_approved(site, study)
    assert list_approvals(site)[0] == ()


def test_an_approval_with_the_hash_of_another_study_lets_nothing_in(site: Site, study: Study, nodule_study: Path) -> None:
    longer = read_study(nodule_study, {"rounds": 99})
    path = approve(site, study)
    edit(path, hash=longer.approved_hash())
    path.rename(path.with_name(f"{longer.approved_hash()}.json"))
    for wanted, code in ((longer, "APPROVAL-DAMAGED"), (study, "STUDY-NOT-APPROVED")):
        with pytest.raises(PolicyError) as caught:
            require_approved(site, wanted)
        assert caught.value.code == code


def test_a_damaged_approval_of_another_study_does_no_harm(site: Site, study: Study, nodule_study: Path) -> None:
    longer = read_study(nodule_study, {"rounds": 99})
    approve(site, longer).write_text("{}")
    with pytest.raises(PolicyError, match="STUDY-NOT-APPROVED"):
        require_approved(site, study)
    approve(site, study)
    require_approved(site, study)
    approvals, (error,) = list_approvals(site)
    assert [approval.hash for approval in approvals] == [study.approved_hash()]
    assert longer.approved_hash()[:20] in error.what
    with pytest.raises(PolicyError, match="APPROVAL-DAMAGED"):
        approved_studies(site)
    assert withdraw(site, "nodule").hash == study.approved_hash()


def test_an_approval_of_an_older_version_is_reported_as_such_and_lets_nothing_in(site: Site, study: Study) -> None:
    path = approve(site, study)
    record = json.loads(path.read_text())
    edit(path, medfl="0.0.1", study={key: value for key, value in record["study"].items() if key != "rounds"})
    with pytest.raises(PolicyError, match="APPROVAL-OLD"):
        require_approved(site, study)
    edit(path, study=record["study"] | {"rounds": 99})
    with pytest.raises(PolicyError, match="APPROVAL-OLD"):
        require_approved(site, study)


def test_a_withdrawal_must_be_unambiguous(site: Site, study: Study, nodule_study: Path) -> None:
    longer = read_study(nodule_study, {"rounds": 99})
    approve(site, study)
    approve(site, longer)
    for wanted in ("nodule", "", "other"):
        with pytest.raises(DeployError, match="APPROVAL-UNKNOWN"):
            withdraw(site, wanted)
    assert withdraw(site, longer.approved_hash()[:12]).study.rounds == 99
    assert [approval.hash for approval in approved_studies(site)] == [study.approved_hash()]


def test_an_approval_under_the_name_of_another_is_not_valid(site: Site, study: Study, nodule_study: Path) -> None:
    longer = read_study(nodule_study, {"rounds": 99})
    path = approve(site, study)
    path.rename(path.with_name(f"{longer.approved_hash()}.json"))
    with pytest.raises(PolicyError, match="APPROVAL-DAMAGED"):
        require_approved(site, longer)
    assert list_approvals(site)[0] == ()
