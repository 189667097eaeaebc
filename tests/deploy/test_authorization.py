"""Authorization at a site: exactly what is approved passes, everything else is refused before any of it is used."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from medfl.deploy.approvals import approve, approved_studies, withdraw
from medfl.deploy.authorization import authorize
from medfl.deploy.bundle import build_bundle, read_bundle_study
from medfl.deploy.study_summary import describe, policy_conflicts
from medfl.deploy.untrusted_bundle import read_bundle
from medfl.errors import ConfigError, DeployError, PolicyError
from medfl.site import Site, init_site, read_site
from medfl.study import read_study
from tests.studies import NODULE_STUDY

Files = dict[str, bytes]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return read_site(init_site(tmp_path / "site", "hospital-a", "."))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study") / "nodule"
    folder.mkdir()
    (folder / "pyproject.toml").write_text(NODULE_STUDY)
    return build_bundle(folder, {"rounds": 3}, folder.parent / "bundles")[0]


def files_of(path: Path) -> Files:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def pack(files: Files, change: Callable[[zipfile.ZipInfo], None] = lambda entry: None) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name)
            change(entry)
            archive.writestr(entry, content)
    return out.getvalue()


def config_of(path: Path) -> dict[str, Any]:
    return read_bundle(path.read_bytes()).config


def refusal(code: str, bundle: bytes, config: dict[str, Any], site: Site) -> str:
    with pytest.raises(PolicyError) as caught:
        authorize(bundle, config, site)
    assert caught.value.code == code
    return caught.value.what


def test_an_approved_study_passes_and_is_the_one_that_was_approved(bundle: Path, site: Site) -> None:
    approve(site, read_bundle_study(bundle))
    study = authorize(bundle.read_bytes(), config_of(bundle), site)
    assert study.rounds == 3
    assert study.approved_hash() == approved_studies(site)[0].hash


def test_the_same_study_gives_the_same_bytes(nodule_study: Path, tmp_path: Path) -> None:
    one, _ = build_bundle(nodule_study, {}, tmp_path / "one")
    other, _ = build_bundle(nodule_study, {}, tmp_path / "other")
    assert one.read_bytes() == other.read_bytes()


def test_settings_of_the_simulation_do_not_leave_the_planners(nodule_study: Path, tmp_path: Path) -> None:
    path, _ = build_bundle(nodule_study, {"simulation.data": "/home/somebody/secret"}, tmp_path)
    assert b"somebody" not in b"".join(files_of(path).values())


def test_a_server_may_set_the_keys_that_only_it_reads(bundle: Path, site: Site) -> None:
    approve(site, read_bundle_study(bundle))
    server_keys = {"server.run": "run-7", "server.resume": True, "server.enrolled": "a,b"}
    study = authorize(bundle.read_bytes(), config_of(bundle), site)
    assert authorize(bundle.read_bytes(), config_of(bundle) | server_keys, site) == study


@pytest.mark.parametrize(
    "change",
    [{"rounds": 99}, {"training.local-epochs": 9}, {"arms": "federated,local"}, {"new.key": 1}, {"servers": "x"}],
)
def test_a_change_of_anything_else_is_refused(change: dict[str, Any], bundle: Path, site: Site) -> None:
    approve(site, read_bundle_study(bundle))
    what = refusal("OVERRIDE-REFUSED", bundle.read_bytes(), config_of(bundle) | change, site)
    assert next(iter(change)) in what


def test_a_missing_key_is_a_change(bundle: Path, site: Site) -> None:
    approve(site, read_bundle_study(bundle))
    config = config_of(bundle)
    del config["seed"]
    refusal("OVERRIDE-REFUSED", bundle.read_bytes(), config, site)


def test_a_study_that_is_not_approved_is_refused_and_the_log_names_what_differs(
    bundle: Path, nodule_study: Path, site: Site, tmp_path: Path
) -> None:
    refusal("STUDY-NOT-APPROVED", bundle.read_bytes(), config_of(bundle), site)
    approve(site, read_bundle_study(bundle))
    larger, _ = build_bundle(nodule_study, {"rounds": 3, "training.local-epochs": 9}, tmp_path / "larger")
    assert "training.local-epochs" in refusal("STUDY-NOT-APPROVED", larger.read_bytes(), config_of(larger), site)


def test_a_withdrawn_approval_does_not_count(bundle: Path, site: Site) -> None:
    approve(site, read_bundle_study(bundle))
    assert withdraw(site, "nodule").study.rounds == 3
    refusal("STUDY-NOT-APPROVED", bundle.read_bytes(), config_of(bundle), site)
    with pytest.raises(DeployError, match="APPROVAL-UNKNOWN"):
        withdraw(site, "nodule")


def test_an_edited_approval_lets_nothing_in(bundle: Path, nodule_study: Path, site: Site, tmp_path: Path) -> None:
    path = approve(site, read_bundle_study(bundle))
    record = json.loads(path.read_text())
    record["study"]["rounds"] = 99
    path.write_text(json.dumps(record))
    refusal("APPROVAL-DAMAGED", bundle.read_bytes(), config_of(bundle), site)
    larger, study = build_bundle(nodule_study, {"rounds": 99}, tmp_path / "larger")
    path.rename(path.with_name(f"{study.approved_hash()}.json"))
    refusal("APPROVAL-DAMAGED", larger.read_bytes(), config_of(larger), site)


CODE = b"raise SystemExit('this ran')"
CODE_FILES = [
    "medfl/__init__.py",
    "numpy.py",
    "sitecustomize.py",
    "usercustomize/__init__.py",
    "x.pyc",
    "x.pth",
    "x.so",
    "run.sh",
    ".hidden.toml.py",
    "a.toml.exe",
    "Makefile",
    "data.pkl",
    "weights.pt",
    "pyproject.toml.py",
    ".info/CONTENT.py",
]


@pytest.mark.parametrize("name", CODE_FILES)
def test_a_bundle_with_code_is_refused_whatever_it_is_called(name: str, bundle: Path, site: Site) -> None:
    approve(site, read_bundle_study(bundle))
    refusal("BUNDLE-CODE", pack(files_of(bundle) | {name: CODE}), config_of(bundle), site)


@pytest.mark.parametrize(
    "name", ["../x.toml", "/etc/x.toml", "a/../../x.toml", "..\\x.toml", "a//x.toml", "./x.toml", "C:/x.toml"]
)
def test_a_file_outside_the_bundle_is_refused(name: str, bundle: Path, site: Site) -> None:
    approve(site, read_bundle_study(bundle))
    refusal("BUNDLE-CODE", pack(files_of(bundle) | {name: b"x = 1"}), config_of(bundle), site)


def test_a_link_is_refused(bundle: Path, site: Site) -> None:
    def link(entry: zipfile.ZipInfo) -> None:
        if entry.filename == "extra.toml":
            entry.external_attr = 0o120777 << 16

    approve(site, read_bundle_study(bundle))
    refusal("BUNDLE-CODE", pack(files_of(bundle) | {"extra.toml": b"/etc/passwd"}, link), config_of(bundle), site)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_repeated_name_is_refused_in_other_capitals_too(bundle: Path, site: Site) -> None:
    approve(site, read_bundle_study(bundle))
    refusal("BUNDLE-DAMAGED", pack(files_of(bundle) | {"PYPROJECT.toml": b"x = 1"}), config_of(bundle), site)
    out = io.BytesIO(bundle.read_bytes())
    with zipfile.ZipFile(out, "a") as archive:
        archive.writestr("pyproject.toml", b"x = 1")
    refusal("BUNDLE-DAMAGED", out.getvalue(), config_of(bundle), site)


def test_a_zip_bomb_is_refused_before_it_is_unpacked(bundle: Path, site: Site) -> None:
    approve(site, read_bundle_study(bundle))
    out = io.BytesIO(bundle.read_bytes())
    with zipfile.ZipFile(out, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("large.json", b"0" * 50_000_000)
    assert len(out.getvalue()) < 100_000
    refusal("BUNDLE-DAMAGED", out.getvalue(), config_of(bundle), site)


@pytest.mark.parametrize("content", [b"", b"PK", b"no zip at all" * 100, b"\x00" * 11_000_000])
def test_bytes_that_are_not_an_archive_are_refused(content: bytes, bundle: Path, site: Site) -> None:
    approve(site, read_bundle_study(bundle))
    refusal("BUNDLE-DAMAGED", content, config_of(bundle), site)


@pytest.mark.parametrize(
    "change",
    [
        {"components": {"serverapp": "medfl.server_app:app", "clientapp": "evil:app"}},
        {"components": {"serverapp": "medfl.server_app:app", "clientapp": "medfl.client_app:app", "agentapp": "evil:app"}},
        {"dependencies": ["evil"]},
    ],
)
def test_other_apps_and_packages_are_refused(change: dict[str, Any], nodule_study: Path, bundle: Path, site: Site) -> None:
    import tomllib

    approve(site, read_bundle_study(bundle))
    files = files_of(bundle)
    document = tomllib.loads(files["pyproject.toml"].decode())
    if "components" in change:
        document["tool"]["flwr"]["app"]["components"] = change["components"]
    else:
        document["project"] |= change
    content = pack(files | {"pyproject.toml": tomli_w.dumps(document).encode()})
    refusal("BUNDLE-COMPONENTS", content, config_of(bundle), site)


def test_an_invalid_study_is_refused_as_such(bundle: Path, site: Site) -> None:
    import tomllib

    files = files_of(bundle)
    document = tomllib.loads(files["pyproject.toml"].decode())
    document["tool"]["flwr"]["app"]["config"]["rounds"] = -1
    content = pack(files | {"pyproject.toml": tomli_w.dumps(document).encode()})
    with pytest.raises(ConfigError, match="rounds"):
        authorize(content, read_bundle(content).config, site)


def test_the_policy_applies_even_if_the_study_is_approved(bundle: Path, site: Site) -> None:
    approve(site, read_bundle_study(bundle))
    strict = site.model_copy(update={"policy": site.policy.model_copy(update={"max_rounds": 2})})
    refusal("POLICY-ROUNDS", bundle.read_bytes(), config_of(bundle), strict)
    assert policy_conflicts(read_bundle_study(bundle), strict) == ["The study has 3 rounds; at most 2 are allowed."]


@pytest.mark.parametrize(
    ("change", "statement"),
    [
        ({"rounds": 7, "training.local-epochs": 3}, "7 rounds; in each, your machine trains 3 epochs"),
        ({"training.local-steps": 5}, "trains 5 steps"),
        ({"arms": "federated,local"}, "the same again alone"),
        ({"compression.codec": "int8"}, "compressed by int8"),
        ({"personal.layers": "head"}, "without its layers of kind head"),
        ({"strategy.quorum": 3, "strategy.min-patients": 50}, "3 or more hospitals that have 50 or more training patients"),
        ({"strategy.name": "gentle"}, "from another package"),
    ],
)
def test_the_summary_states_what_decides(change: dict[str, Any], statement: str, nodule_study: Path) -> None:
    study = read_study(nodule_study, change)
    assert any(statement in what for _, what in describe(study))
