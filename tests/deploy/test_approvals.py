"""The approvals of a site: files for its own eyes, that open nothing unless they are exactly what was approved."""

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


def test_an_approval_is_for_the_eyes_of_the_site_and_holds_what_was_approved(site: Site, study: Study) -> None:
    path = approve(site, study)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    told = json.loads(path.read_text())
    assert (told["hash"], told["medfl"], told["study"]["name"]) == (study.approved_hash(), __version__, "nodule")
    assert path.stem == study.approved_hash()
    assert approved_studies(read_site(site.folder))[0].study == study


def test_what_the_server_alone_reads_is_not_kept(site: Site, nodule_study: Path) -> None:
    own = {"server.out": "/srv/secret-place", "simulation.data": "/home/somebody"}
    text = approve(site, read_study(nodule_study, own)).read_text()
    assert "secret-place" not in text
    assert "somebody" not in text


def test_an_approval_of_the_same_study_with_other_words_for_the_server_is_the_same(site: Site, nodule_study: Path) -> None:
    approve(site, read_study(nodule_study, {"server.run": "one"}))
    approve(site, read_study(nodule_study, {"server.run": "two"}))
    assert len(approved_studies(site)) == 1


@pytest.mark.parametrize(
    "content",
    ["", "{}", "[]", "null", "{", '{"medfl": 1, "approved": 1}', '{"medfl": "x", "approved": "x", "study": []}', "[" * 99_999],
)
def test_a_file_that_is_no_approval_opens_nothing(content: str, site: Site, study: Study) -> None:
    approve(site, study).write_text(content)
    with pytest.raises(PolicyError, match="APPROVAL-"):
        require_approved(site, study)
    assert list_approvals(site)[0] == ()


def test_an_approval_whose_hash_is_not_that_of_its_study_opens_nothing(site: Site, study: Study, nodule_study: Path) -> None:
    longer = read_study(nodule_study, {"rounds": 99})
    path = approve(site, study)
    edit(path, hash=longer.approved_hash())
    path.rename(path.with_name(f"{longer.approved_hash()}.json"))
    for wanted, code in ((longer, "APPROVAL-DAMAGED"), (study, "STUDY-NOT-APPROVED")):
        with pytest.raises(PolicyError) as caught:
            require_approved(site, wanted)
        assert caught.value.code == code


def test_a_damaged_approval_of_another_study_stops_nothing(site: Site, study: Study, nodule_study: Path) -> None:
    longer = read_study(nodule_study, {"rounds": 99})
    approve(site, longer).write_text("{}")
    with pytest.raises(PolicyError, match="STUDY-NOT-APPROVED"):
        require_approved(site, study)
    approve(site, study)
    require_approved(site, study)
    good, (wrong,) = list_approvals(site)
    assert [approval.hash for approval in good] == [study.approved_hash()]
    assert longer.approved_hash()[:20] in wrong.what
    with pytest.raises(PolicyError, match="APPROVAL-DAMAGED"):
        approved_studies(site)
    assert withdraw(site, "nodule").hash == study.approved_hash()


def test_an_approval_from_before_an_update_is_told_as_such_and_opens_nothing(site: Site, study: Study) -> None:
    path = approve(site, study)
    told = json.loads(path.read_text())
    edit(path, medfl="0.0.1", study={key: value for key, value in told["study"].items() if key != "rounds"})
    with pytest.raises(PolicyError, match="APPROVAL-OLD"):
        require_approved(site, study)
    edit(path, study=told["study"] | {"rounds": 99})
    with pytest.raises(PolicyError, match="APPROVAL-OLD"):
        require_approved(site, study)


def test_taking_back_needs_to_be_clear(site: Site, study: Study, nodule_study: Path) -> None:
    longer = read_study(nodule_study, {"rounds": 99})
    approve(site, study)
    approve(site, longer)
    for wanted in ("nodule", "", "other"):
        with pytest.raises(DeployError, match="APPROVAL-UNKNOWN"):
            withdraw(site, wanted)
    assert withdraw(site, longer.approved_hash()[:12]).study.rounds == 99
    assert [approval.hash for approval in approved_studies(site)] == [study.approved_hash()]


def test_an_approval_under_the_name_of_another_is_none(site: Site, study: Study, nodule_study: Path) -> None:
    longer = read_study(nodule_study, {"rounds": 99})
    path = approve(site, study)
    path.rename(path.with_name(f"{longer.approved_hash()}.json"))
    with pytest.raises(PolicyError, match="APPROVAL-DAMAGED"):
        require_approved(site, longer)
    assert list_approvals(site)[0] == ()
