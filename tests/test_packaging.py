"""Packaging: every package on disk is shipped, no generic name is, and the import is light."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from medfl.deploy.doctor.installation_checks import FLWR_RANGE

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
DATA_ONLY = {"medfl.sample_configs"}
NEVER_IMPORTED = {  # run-time dependencies that no line of medfl imports, and what each is for
    "einops": "MONAI's UNETR, SwinUNETR and ViT import it when one is built",
    "pyjpegls": "pydicom decodes JPEG-LS with it",
    "pylibjpeg": "pydicom decodes with its plugins",
    "pylibjpeg-openjpeg": "plugin for JPEG 2000",
    "pylibjpeg-rle": "plugin for RLE",
}
COMES_WITH = {"pydantic-core": "pydantic"}  # pinned to one version by the other
INSTALLED_BY_HAND = {"simpleitk"}  # for the bias field alone; the refusal SITE-EXTRA says how


def packages_on_disk() -> set[str]:
    sources = [("medfl", ROOT / "medfl"), ("medfl.strategies", ROOT / "strategies"), ("medfl.clients", ROOT / "clients")]
    found: set[str] = set()
    for name, folder in sources:
        for init in folder.rglob("__init__.py"):
            parts = init.parent.relative_to(folder).parts
            if not any((folder.joinpath(*parts[: k + 1])).is_symlink() for k in range(len(parts))):
                found.add(".".join([name, *parts]))
    return found


def test_every_package_on_disk_is_shipped_and_no_generic_name_is() -> None:
    shipped = set(PYPROJECT["tool"]["setuptools"]["packages"])
    assert shipped - DATA_ONLY == packages_on_disk()
    assert all(name == "medfl" or name.startswith("medfl.") for name in shipped)


def own_imports(*folders: str) -> Iterator[tuple[str, bool]]:
    """Yield each package that is imported in some folders, and whether only inside a function."""
    for path in (path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        for node, lazy in walk_imports(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            yield from ((name.split(".")[0], lazy) for name in names)


def walk_imports(node: ast.AST, lazy: bool = False) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, lazy
        elif not (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"):
            yield from walk_imports(child, lazy or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef))


def distributions(packages: Iterable[str]) -> set[str]:
    known = importlib.metadata.packages_distributions()
    foreign = {name for name in packages if name not in sys.stdlib_module_names | {"medfl", "tests", "benchmarks", "tools"}}
    return {normalised(dist).removesuffix("-nightly") for name in foreign for dist in known.get(name, [name])}


def required(entries: Iterable[str]) -> set[str]:
    """Return the names in a list of requirements, those of medfl's own extras among them."""
    extras, found = PYPROJECT["project"]["optional-dependencies"], set[str]()
    for entry in entries:
        name = re.match(r"[A-Za-z0-9._-]+", entry)[0]
        if name == PYPROJECT["project"]["name"]:
            found |= required(inner for extra in re.findall(r"[a-z-]+", entry[len(name) :]) for inner in extras[extra])
        else:
            found.add(normalised(name))
    return found


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_what_is_required_at_run_time_is_what_is_imported() -> None:
    project = PYPROJECT["project"]
    run_time = required(project["dependencies"])
    optional = required(entry for entries in project["optional-dependencies"].values() for entry in entries) - run_time
    imported = list(own_imports("medfl", "strategies", "clients"))
    at_once = distributions(name for name, lazy in imported if not lazy) - set(COMES_WITH)
    ever = distributions(name for name, _ in imported) - set(COMES_WITH) - INSTALLED_BY_HAND
    assert run_time >= set(COMES_WITH.values())
    assert run_time - set(NEVER_IMPORTED) == ever - optional
    assert not set(NEVER_IMPORTED) & ever
    assert at_once & optional == {"pytest"}  # by medfl.testing, which is for tests


def test_what_tests_and_benchmarks_import_comes_with_dev() -> None:
    project = PYPROJECT["project"]
    installed = required((*project["dependencies"], *project["optional-dependencies"]["dev"]))
    imported = distributions(name for name, _ in own_imports("tests", "benchmarks", "tools"))
    assert imported - {"nnunetv2"} <= installed  # nnU-Net made the golden plans once, by hand


def test_the_doctor_wants_the_flower_that_is_required() -> None:
    (flower,) = (entry for entry in PYPROJECT["project"]["dependencies"] if entry.startswith("flwr"))
    at_least, below = (tuple(map(int, number)) for number in re.findall(r"(\d+)\.(\d+)", flower))
    assert (at_least, below) == FLWR_RANGE


ASKS_FOR_ANOTHER_PROJECT = re.compile(
    r"""(?<!un)install (-\S+ )*["']?medfl(?![\w-])|(?<![\w-])medfl\[[a-z]+(-gpl)?\]|version\(["']medfl["']\)|= \["medfl"\]"""
)


@pytest.mark.parametrize(
    "text", ["pip install -q medfl", "(needs medfl[demo])", 'version("medfl")', 'dependencies = ["medfl"]']
)
def test_a_request_for_another_project_is_noticed(text: str) -> None:
    assert ASKS_FOR_ANOTHER_PROJECT.search(text)
    assert not ASKS_FOR_ANOTHER_PROJECT.search(text.replace("medfl", "flwr-medfl"))


def test_nothing_asks_pip_for_the_project_that_owns_the_name_medfl() -> None:
    """On PyPI that is somebody else's code; the distribution of this repository is `flwr-medfl`."""
    folders = ("medfl", "strategies", "clients", "sample_configs", "docs", "benchmarks", "tools")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in {".py", ".md", ".toml"}]
    files += [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "Makefile")]
    assert [path.name for path in files if ASKS_FOR_ANOTHER_PROJECT.search(path.read_text(encoding="utf-8"))] == []


def test_the_root_is_no_flower_app() -> None:
    assert "flwr" not in PYPROJECT["tool"]


@pytest.mark.parametrize(
    "code",
    [
        "import medfl",
        "import medfl.study, medfl.site, medfl.report, medfl.runs.run_folder",
        "from medfl.testing import FakeGrid, StrategyContract",
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
    assert {path.name.split("-")[0] for path in (wheel, sdist)} == {"flwr_medfl"}
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"medfl"}
    assert {"medfl/strategies/fedavg.py", "medfl/clients/session.py"} <= names
    assert {"medfl/py.typed", "medfl/errors/codes.toml"} <= names
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
