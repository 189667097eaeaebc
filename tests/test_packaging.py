"""What is shipped: every package on disk, no generic name, and a light import."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
DATA_ONLY = {"medfl.sample_configs"}


def packages_on_disk() -> set[str]:
    rooms = [("medfl", ROOT / "medfl"), ("medfl.strategies", ROOT / "strategies"), ("medfl.clients", ROOT / "clients")]
    found: set[str] = set()
    for name, folder in rooms:
        for init in folder.rglob("__init__.py"):
            parts = init.parent.relative_to(folder).parts
            if not any((folder.joinpath(*parts[: k + 1])).is_symlink() for k in range(len(parts))):
                found.add(".".join([name, *parts]))
    return found


def test_every_package_on_disk_is_shipped_and_no_generic_name_is() -> None:
    shipped = set(PYPROJECT["tool"]["setuptools"]["packages"])
    assert shipped - DATA_ONLY == packages_on_disk()
    assert all(name == "medfl" or name.startswith("medfl.") for name in shipped)


def test_the_root_is_no_flower_app() -> None:
    assert "flwr" not in PYPROJECT["tool"]


@pytest.mark.parametrize(
    "code",
    [
        "import medfl",
        "import medfl.study, medfl.site, medfl.report, medfl.runs.run_folder",
        "from typer.testing import CliRunner\nfrom medfl.cli.app import app\n"
        "assert 'simulate' in CliRunner().invoke(app).output",
    ],
)
def test_what_must_start_fast_needs_neither_torch_nor_monai(code: str) -> None:
    check = "import sys; heavy = {'torch', 'monai', 'ray'} & set(sys.modules); assert not heavy, heavy"
    done = subprocess.run([sys.executable, "-c", f"{code}\n{check}"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_links_of_a_checkout_are_relative() -> None:
    for name in ("strategies", "clients", "sample_configs"):
        link = ROOT / "medfl" / name
        if link.is_symlink():  # a wheel and an unpacked sdist hold folders instead
            assert str(link.readlink()) == f"../{name}"


@pytest.mark.slow
def test_wheel_and_sdist_hold_the_same_code_and_it_works(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tmp_path / "dist"), str(ROOT)]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,), (sdist,) = (tmp_path / "dist").glob("*.whl"), (tmp_path / "dist").glob("*.tar.gz")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"medfl"}
    assert {"medfl/strategies/fedavg.py", "medfl/clients/training/session.py", "medfl/py.typed"} <= names
    assert "medfl/sample_configs/brain-tissue/pyproject.toml" in names
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "sdist", filter="data")
    (unpacked,) = (tmp_path / "sdist").iterdir()
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    tests = [str(unpacked / "tests" / name) for name in ("study", "messages", "site", "runs")]
    run = [sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", str(unpacked / "pyproject.toml"), *tests]
    environment = {"PYTHONPATH": str(tmp_path / "site"), "PATH": "", "HOME": str(tmp_path)}
    done = subprocess.run(run, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
