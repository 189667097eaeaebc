"""Documentation against the code: commands, options, links, modules and files that a page names are there."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import typer

from medfl.cli.app import app
from medfl.clients.training.task import TrainTask
from medfl.study.task import Task

ROOT = Path(__file__).parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "sample_configs").glob("*/README.md")),
]
SOURCES = [path for folder in ("medfl", "strategies", "clients") for path in sorted((ROOT / folder).rglob("*.py"))]
OTHERS_OPTIONS = {"--isolation", "--shm-size", "--ipc"}  # of Flower, and of docker
MEDFL = typer.main.get_command(app)
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def code_in(page: Path) -> Iterator[str]:
    """Yield each line of a block of code, continued lines as one, without comments; then each code span."""
    text = page.read_text(encoding="utf-8")
    fence = re.compile(r"^```.*?\n(.*?)^```", re.MULTILINE | re.DOTALL)
    for block in fence.findall(text):
        yield from (re.sub(r"(^|\s)#.*", "", line) for line in block.replace("\\\n", " ").splitlines())
    yield from (" ".join(span.split()) for span in re.findall(r"`([^`]+)`", fence.sub("", text)))


def problem_in(code: str) -> str:
    """Return what is wrong with the commands of medfl in a piece of code: `medfl a | medfl b`, or `medfl site a | b`."""
    group: click.Command = MEDFL
    for part in code.split(" | "):
        words = shlex.split(part.replace("'", ""))
        if words[:1] == ["medfl"]:
            group, words = MEDFL, words[1:]
        elif not code.startswith("medfl "):
            continue
        command, rest = resolve(group, words)
        if isinstance(command, click.Group) and rest and re.fullmatch("[a-z][a-z-]*", rest[0]):
            return f"{rest[0]!r} is no command of {command.name!r}"
        known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}
        unknown = {word.split("=")[0].rstrip(",") for word in rest if re.match("--?[a-z]", word)} - known
        if unknown:
            return f"{command.name!r} has no option {', '.join(sorted(unknown))}"
        group = parent_of(words, group)
    return ""


def resolve(command: click.Command, words: list[str]) -> tuple[click.Command, list[str]]:
    while words and isinstance(command, click.Group) and words[0] in command.commands:
        command, words = command.commands[words[0]], words[1:]
    return command, words


def parent_of(words: list[str], group: click.Command) -> click.Command:
    for word in words:
        inner = group.commands.get(word) if isinstance(group, click.Group) else None
        if not isinstance(inner, click.Group):
            break
        group = inner
    return group


def all_options(command: click.Command) -> set[str]:
    own = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    return own.union(*map(all_options, command.commands.values())) if isinstance(command, click.Group) else own


@every_page
def test_commands_of_a_page_are_there(page: Path) -> None:
    problems = {code: problem_in(code) for code in code_in(page) if "medfl " in code}
    assert not {code: problem for code, problem in problems.items() if problem}


@every_page
def test_options_that_a_page_names_alone_are_there(page: Path) -> None:
    named = {code.split()[0].split("=")[0] for code in code_in(page) if re.match("--[a-z]", code)}
    assert named <= all_options(MEDFL) | OTHERS_OPTIONS


def test_commands_that_messages_and_docstrings_name_are_there() -> None:
    groups = "|".join(name for name, command in MEDFL.commands.items() if isinstance(command, click.Group))
    command = re.compile(rf"'(medfl [^'{{]+)'|`(medfl [^`{{]+)`|(medfl (?:{groups}) [a-z][a-z-]*)")
    problems = {}
    for path in SOURCES:
        texts = [node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)]
        for text in (text for text in texts if isinstance(text, str)):
            for code in ("".join(found) for found in command.findall(text)):
                if problem := problem_in(" ".join(code.split())):
                    problems[path.name, code] = problem
    assert not problems


@every_page
def test_links_of_a_page_resolve(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    local = {link.split("#")[0] for link in links if not re.match("https?:|#", link)}
    assert not {link for link in local if not (page.parent / link).exists()}


@every_page
def test_modules_and_files_that_a_page_names_are_there(page: Path) -> None:
    missing = set()
    for code in code_in(page):
        for name in re.findall(r"(?<![\w./-])(?:medfl|benchmarks|tools)(?:\.\w+)+", code):
            if not names_something(name):
                missing.add(name)
        for path in re.findall(
            r"(?<![\w./-])(?:medfl|strategies|clients|tests|docs|tools|benchmarks|sample_configs)/[\w./-]*", code
        ):
            if not (ROOT / path.rstrip(".")).exists():
                missing.add(path)
    assert not missing


@every_page
def test_what_a_page_says_that_a_task_has_is_there(page: Path) -> None:
    """Either the object that a client algorithm gets, or the table of a study."""
    known = {field.name for field in dataclasses.fields(TrainTask)} | set(dir(TrainTask))
    known |= {str(field.alias) for field in Task.model_fields.values()}
    assert {name for code in code_in(page) for name in re.findall(r"(?<![\w.])task\.([\w-]+)", code)} <= known


def names_something(name: str) -> bool:
    """Say whether a dotted name is a module, or a name in one."""
    parts = name.split(".")
    for k in range(len(parts), 0, -1):
        if module_exists(".".join(parts[:k])):
            found: object = importlib.import_module(".".join(parts[:k])) if k < len(parts) else None
            for attribute in parts[k:]:
                if not hasattr(found, attribute):
                    return False
                found = getattr(found, attribute)
            return True
    return False


def module_exists(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or path.is_dir()


def test_the_entry_page_leads_to_every_page() -> None:
    entry = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    linked = set(re.findall(r"\]\(([^)\s]+)\)", entry))
    assert {path.name for path in (ROOT / "docs").iterdir() if path.suffix in (".md", ".ipynb")} - {"README.md"} <= linked


@every_page
def test_links_to_a_heading_find_it(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]*#[^)\s]+)\)", page.read_text(encoding="utf-8")):
        path, _, fragment = link.partition("#")
        if re.match("https?:", link):
            continue
        text = (page.parent / path if path else page).read_text(encoding="utf-8")
        headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
        assert fragment in {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}, link
