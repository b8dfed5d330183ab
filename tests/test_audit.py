"""`make audit` tells "no vulnerability is known" from "nothing is known"."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .audit import NONE, SOME, UNKNOWN, judged, main

GOOD = {"name": "click", "version": "8.1.7", "vulns": []}
BAD = {
    "name": "idna",
    "version": "3.4",
    "vulns": [{"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["3.7"], "description": "…"}],
}
SKIPPED = {"name": "jinja2", "skip_reason": "Dependency not found on PyPI and could not be audited: jinja2 (3.1.2)"}


@pytest.mark.parametrize(
    ("packages", "code", "said"),
    [
        ([GOOD, GOOD], NONE, ["No known vulnerability; 2 of 2 packages looked up."]),
        ([GOOD, BAD], SOME, ["VULNERABLE: idna 3.4: PYSEC-1, CVE-1; mended in 3.7"]),
        ([SKIPPED, GOOD], UNKNOWN, ["NO DATA: ", "1 of 2 packages looked up", "It is not known"]),
        ([SKIPPED] * 7, UNKNOWN, ["jinja2 and 2 more; 0 of 7 packages", "It is not known"]),
        ([SKIPPED, BAD], SOME, ["VULNERABLE: idna", "NO DATA: "]),
        ([], UNKNOWN, ["It is not known"]),
    ],
)
def test_what_is_not_known_is_not_said_to_be_fine(packages: list[dict[str, Any]], code: int, said: list[str]) -> None:
    lines, found = judged(packages)
    assert found == code
    assert [words for words in said if words not in "\n".join(lines)] == []
    assert any("No known" in line for line in lines) == (code == NONE)


@pytest.mark.parametrize("program", ["echo 'No known vulnerabilities found' >&2", "echo '{}'", "exit 1"])
def test_an_audit_that_fails_says_so(program: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = tmp_path / "pip-audit"
    script.write_text(f"#!/bin/sh\n{program}\n")
    script.chmod(0o755)
    assert main(str(script), "constraints.txt") == UNKNOWN
    assert "pip-audit failed" in capsys.readouterr().out
