"""Untrusted bundles: what is ambiguous, hides something, or is expensive to read is refused."""

from __future__ import annotations

import errno
import io
import struct
import tomllib
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from medfl.deploy import bundle
from medfl.deploy.approvals import approve
from medfl.deploy.authorization import authorize
from medfl.deploy.bundle import build_bundle, read_bundle_study, write_app
from medfl.deploy.untrusted_bundle import read_bundle, sanitize
from medfl.errors import ConfigError, DeployError, MedflError, PolicyError, RunError
from medfl.site import Site, init_site, read_site
from medfl.study import read_study
from medfl.study.study_file import Scalar

Document = dict[str, Any]
ESCAPE = "\x1b[2J\nApproved."


@pytest.fixture
def app(nodule_study: Path, tmp_path: Path) -> Document:
    """Return the pyproject.toml of a bundle."""
    write_app(nodule_study, {}, tmp_path / "app")
    return tomllib.loads((tmp_path / "app" / "pyproject.toml").read_text())


@pytest.fixture
def site(nodule_study: Path, tmp_path: Path) -> Site:
    """Return a site that has approved the study."""
    site = read_site(init_site(tmp_path / "site", "hospital-a", "."))
    approve(site, read_bundle_study(nodule_study))
    return site


def pack(files: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def bundle_of(app: Document, **files: bytes) -> bytes:
    return pack({"pyproject.toml": tomli_w.dumps(app).encode(), **files})


def config_in(app: Document) -> Document:
    config: Document = app["tool"]["flwr"]["app"]["config"]
    return config


def code_of(content: bytes) -> str:
    with pytest.raises(PolicyError) as caught:
        read_bundle(content)
    return caught.value.code


def test_the_bundle_that_the_other_tests_change_is_valid(app: Document, site: Site) -> None:
    content = bundle_of(app)
    assert authorize(content, read_bundle(content).config, site).name == "nodule"


@pytest.mark.parametrize("name", ["sub/pyproject.toml", "sub/PyProject.TOML", "a/b/pyproject.toml"])
def test_a_second_study_in_a_bundle_is_refused(name: str, app: Document) -> None:
    assert code_of(bundle_of(app, **{name: b"rounds = 99"})) == "BUNDLE-DAMAGED"


def test_the_study_file_must_have_its_own_name(app: Document) -> None:
    text = tomli_w.dumps(app).encode()
    assert code_of(pack({"PYPROJECT.toml": text})) == "BUNDLE-DAMAGED"
    assert code_of(pack({"nodule/pyproject.toml": text})) == "BUNDLE-DAMAGED"


def test_a_name_that_continues_after_a_null_byte_is_refused(app: Document) -> None:
    content = bundle_of(app, **{"extra.toml_.py": b"x"}).replace(b"extra.toml_.py", b"extra.toml\0.py")
    assert code_of(content) == "BUNDLE-CODE"


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe",
        b"project = 1\n[tool.flwr.app]",
        b"tool = []",
        b"",
        b"a = " + b"[" * 50_000,
        b"a = " + b"{a = " * 50_000,
    ],
)
def test_a_file_that_is_not_a_study_is_refused_and_never_crashes(content: bytes) -> None:
    assert code_of(pack({"pyproject.toml": content})) == "BUNDLE-DAMAGED"


@pytest.mark.parametrize("value", [["background", "nodule"], {"2026": [1]}, [{"a": 1}]])
def test_a_value_of_a_type_unknown_to_flower_is_refused(value: object, app: Document) -> None:
    config_in(app)["task"]["classes"] = value
    assert code_of(bundle_of(app)) == "BUNDLE-DAMAGED"


@pytest.mark.parametrize("key", ["training.local-epochs", "rounds\n", "", "rünge", "k" * 65])
def test_an_ambiguous_key_is_refused(key: str, app: Document) -> None:
    config_in(app)[key] = 9
    assert code_of(bundle_of(app)) == "BUNDLE-DAMAGED"


def _optional(app: Document) -> None:
    app["project"]["optional-dependencies"] = {"gpu": ["evil"]}


def _dynamic(app: Document) -> None:
    app["project"]["dynamic"] = ["dependencies"]


def _group(app: Document) -> None:
    app["dependency-groups"] = {"dev": ["evil"]}


@pytest.mark.parametrize("change", [_optional, _dynamic, _group])
def test_packages_to_install_are_found_wherever_they_are_named(change: Callable[[Document], None], app: Document) -> None:
    change(app)
    assert code_of(bundle_of(app)) == "BUNDLE-COMPONENTS"


@pytest.mark.parametrize("change", [{"data": "/home"}, {"attack": "label-flip"}, {"previews": 12}, {"store": "/tmp"}])
def test_settings_of_a_simulation_outside_the_approved_hash_are_refused(
    change: Document, app: Document, site: Site, tmp_path: Path
) -> None:
    config_in(app)["simulation"] = change
    content = bundle_of(app)
    with pytest.raises(PolicyError, match="BUNDLE-SIMULATION"):
        authorize(content, read_bundle(content).config, site)
    (tmp_path / "x.fab").write_bytes(content)
    with pytest.raises(PolicyError, match="BUNDLE-SIMULATION"):
        read_bundle_study(tmp_path / "x.fab")


@pytest.mark.parametrize("value", [True, 1.0, "1"])
def test_a_value_of_another_type_is_a_change(value: Scalar, app: Document, site: Site) -> None:
    config_in(app)["seed"] = 1
    content = bundle_of(app)
    with pytest.raises(PolicyError, match="OVERRIDE-REFUSED"):
        authorize(content, read_bundle(content).config | {"seed": value}, site)


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_archive_with_a_false_size_does_not_fill_the_memory(compression: int) -> None:
    content = bytearray(pack({"pyproject.toml": b"#" * 50_000_000}, compression))
    entry = content.rfind(b"PK\x01\x02")
    content[entry + 24 : entry + 28] = struct.pack("<I", 1000)
    tracemalloc.start()
    assert code_of(bytes(content)) == "BUNDLE-DAMAGED"
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


@pytest.mark.parametrize("text", [b"a" + b".a" * 6000 + b" = 1", b"#" * 300_000])
def test_a_text_that_is_expensive_to_parse_does_not_reach_the_parser(text: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tomllib, "loads", lambda _: pytest.fail("it was read"))
    assert code_of(pack({"pyproject.toml": text})) == "BUNDLE-DAMAGED"


def test_a_server_can_write_only_printable_characters_into_the_log(app: Document, site: Site) -> None:
    good = bundle_of(app)
    config = read_bundle(good).config
    messages = []
    for change in ({ESCAPE: 1}, {f"server.{ESCAPE}": 1}, {f"server.key-{k}{ESCAPE}": 1 for k in range(500)}):
        with pytest.raises(MedflError) as caught:
            authorize(good, config | change, site)
        messages.append(str(caught.value))
    config_in(app)["strategy"] = {"name": ESCAPE}
    other = bundle_of(app)
    with pytest.raises(PolicyError, match="STUDY-NOT-APPROVED") as refusal:
        authorize(other, read_bundle(other).config, site)
    messages.append(str(refusal.value))
    for text in messages:
        assert all(line.isprintable() for line in text.split("\n"))
        assert not any(line.startswith("Approved.") for line in text.split("\n"))
        assert len(text) < 5000


def test_a_wrong_study_is_reported_with_its_keys(app: Document, site: Site) -> None:
    config_in(app)["rounds"] = -1
    content = bundle_of(app)
    with pytest.raises(ConfigError, match="rounds"):
        authorize(content, read_bundle(content).config, site)


def test_characters_that_reverse_a_line_are_not_shown() -> None:
    assert sanitize("liver\u202egnul\u2028") == "liver?gnul?"
    assert sanitize("Lungenödem µm 肺") == "Lungenödem µm 肺"


def test_a_bundle_made_by_medfl_passes_the_same_checks(nodule_study: Path, tmp_path: Path) -> None:
    (nodule_study / "README.md").write_text("What it is for.")
    (nodule_study / "canary.py").write_text("raise SystemExit")
    (nodule_study / "medfl").mkdir()
    (nodule_study / "medfl" / "__init__.py").write_text("raise SystemExit")
    path, study = build_bundle(nodule_study, {}, tmp_path)
    with zipfile.ZipFile(path) as archive:
        assert set(archive.namelist()) == {"pyproject.toml", "README.md", ".info/CONTENT"}
    assert read_bundle_study(path).approved_hash() == study.approved_hash()


def test_a_bundle_that_cannot_be_written_whole_leaves_the_older_one(
    nodule_study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = build_bundle(nodule_study, {}, tmp_path / "out")[0].read_bytes()
    monkeypatch.setattr("os.fsync", lambda _: fail_with_a_full_disk())
    with pytest.raises(RunError, match="DISK-FULL"):
        build_bundle(nodule_study, {"seed": 999}, tmp_path / "out")
    assert [path.read_bytes() for path in (tmp_path / "out").iterdir()] == [older]


def fail_with_a_full_disk() -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("make", [write_app, build_bundle])
def test_a_bundle_that_is_not_the_study_when_it_is_read_back_is_not_handed_on(
    make: Callable[..., object], nodule_study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unflatten = bundle._unflatten
    monkeypatch.setattr(bundle, "_unflatten", lambda config: unflatten(dict(config) | {"seed": 999}))
    with pytest.raises(DeployError, match="BUNDLE-FAILED"):
        make(nodule_study, {}, tmp_path / "out")
    assert not list(tmp_path.rglob("*.fab"))


def test_what_flower_makes_of_a_study_is_read_before_it_is_handed_on(
    nodule_study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = read_study(nodule_study, {"seed": 999})
    monkeypatch.setattr(bundle, "read_untrusted_study", lambda config: other)
    with pytest.raises(DeployError, match="BUNDLE-FAILED"):
        build_bundle(nodule_study, {}, tmp_path / "out")
    assert not list(tmp_path.rglob("*.fab"))
