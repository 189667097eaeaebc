"""Reading of site.toml; the site's secret is made once and never shown."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from medfl.errors import ConfigError, DataError
from medfl.site import ensure_secret, init_site, read_site


def test_init_writes_a_valid_site_with_a_private_secret(tmp_path: Path) -> None:
    site = read_site(init_site(tmp_path, "hospital-a", "images"))
    assert site.name == "hospital-a"
    assert site.root == tmp_path / "images"
    assert site.policy.min_count == 10
    assert len(site.secret()) == 32
    assert stat.S_IMODE((tmp_path / "site.secret").stat().st_mode) == 0o600


def test_init_never_overwrites(tmp_path: Path) -> None:
    init_site(tmp_path, "hospital-a", ".")
    with pytest.raises(ConfigError, match="already there"):
        init_site(tmp_path, "hospital-b", ".")
    assert read_site(tmp_path).name == "hospital-a"


def test_a_name_that_is_a_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="name"):
        init_site(tmp_path, "../elsewhere", ".")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("classes", ["a,A", "1,1.0", "grade 1,Grade  1"])
def test_a_class_that_is_named_twice_is_refused(tmp_path: Path, classes: str) -> None:
    file = init_site(tmp_path, "hospital-a", ".")
    file.write_text(f'classes = "{classes}"\n{file.read_text()}')
    with pytest.raises(ConfigError, match=r"classes.*names one class twice"):
        read_site(tmp_path)


def test_a_secret_stays_what_it_was(tmp_path: Path) -> None:
    ensure_secret(tmp_path / "secret")
    first = (tmp_path / "secret").read_bytes()
    ensure_secret(tmp_path / "secret")
    assert (tmp_path / "secret").read_bytes() == first
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]


def test_every_problem_of_a_site_is_reported_at_once(tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text('name = "a"\nfolder = "/x"\n[policy]\nmin-cout = 3\nmax-excluded = 2\n')
    with pytest.raises(ConfigError) as caught:
        read_site(tmp_path)
    message = str(caught.value)
    assert "folder: there is no such key" in message
    assert "Did you mean 'min-count'?" in message
    assert "max-excluded" in message


@pytest.mark.parametrize("count", [-1, 1, 4])
def test_a_rule_for_counts_that_protects_nobody_is_refused(count: int, tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text(f'name = "a"\n[policy]\nmin-count = {count}\n')
    with pytest.raises(ConfigError, match=r"policy\.min-count: must be 0, which switches the rule off, or at least 5"):
        read_site(tmp_path)


@pytest.mark.parametrize("count", [0, 5, 11])
def test_counts_may_be_shown_or_hidden_below_five_and_more(count: int, tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text(f'name = "a"\n[policy]\nmin-count = {count}\n')
    assert read_site(tmp_path).policy.min_count == count


def test_a_missing_secret_is_said_plainly(tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text('name = "a"\n')
    with pytest.raises(DataError, match="SITE-SECRET"):
        read_site(tmp_path).secret()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('name = "a"\n[data]\nroot = "C:\\daten"\n', 'root = "/mnt/c/daten"'),
        ('name = "Klinik Süd"\n', "name: must be 1 to 64 letters"),
        ('name = "a"\n[policy]\nmax-excluded = 10\n', "must be a share from 0 to 1: 0.1 = 10 % (came 10)"),
    ],
)
def test_common_mistakes_are_explained(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_site(tmp_path)
    assert message in str(caught.value)


def test_files_that_may_not_be_read_are_not_called_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = read_site(init_site(tmp_path, "a", "."))

    def refusing(path: Path, *args: object, **more: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refusing)
    monkeypatch.setattr(Path, "read_text", refusing)
    with pytest.raises(DataError, match=r"SITE-SECRET.*cannot be read.*permissions"):
        site.secret()
    with pytest.raises(ConfigError, match=r"cannot be read.*permissions") as caught:
        read_site(tmp_path)
    assert str(tmp_path) not in str(caught.value)
