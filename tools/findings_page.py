"""The page `docs/findings.md`, made from the table of codes in `medfl/errors/codes.toml`.

Write it anew with ``python -m tools.findings_page > docs/findings.md``.
"""

from __future__ import annotations

import sys
from itertools import groupby

from medfl.errors import Code, load_codes

_INTRODUCTION = """\
# Findings: every code, and what to do

<!-- Made from medfl/errors/codes.toml: python -m tools.findings_page > docs/findings.md -->

Whatever medfl refuses, leaves out or warns of has a code. At the site the message says more: counts, millimetres, and the
pseudonym of the case; `medfl data whois PSEUDONYM` names the files behind it, on the site's machine only. Where no other rule
stands below a heading, the server is sent the code and a count alone, and where the site's policy sets `policy.min-count = 10`,
a count below 10 only as `<10`. No message holds a path, a name, a date or an identifier. What a library itself reported goes to
a private file on the machine, when somebody asks for it: `medfl --debug-local FILE data prepare ...`; it names patients, so
delete it when you are done.
"""
_NOTES = {  # what leaves a site, where it is not the code alone
    "sentence": "The server is sent the code and what it means, so that it can see why the hospital refuses.",
    "nothing": "These are raised at the server or by a command, where the whole message can be read.",
}


def build_page() -> str:
    """Return the page as Markdown."""
    sections = groupby(load_codes().values(), key=lambda code: code.section)
    return "\n".join([_INTRODUCTION, *(_format_section(title, list(codes)) for title, codes in sections)])


def _format_section(title: str, codes: list[Code]) -> str:
    rows = "".join(f"| `{code.name}` | {_escape(code.meaning)} | {_escape(code.fix)} |\n" for code in codes)
    note = f"{_NOTES[codes[0].leaves]}\n\n" if codes[0].leaves in _NOTES else ""
    return f"## {title}\n\n{note}| code | what it means | what to do |\n|---|---|---|\n{rows}"


def _escape(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(build_page())
