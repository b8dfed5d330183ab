"""Say what is known of the vulnerabilities of the packages that we build on: `make audit`.

`pip-audit` says "No known vulnerabilities found" even if the index has data on no package. Here "none is known" and
"nothing is known" are two results, with an exit code each.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from typing import Any

#: The exit codes: none of the packages has a known vulnerability, some have, or that is not known of all of them.
NONE, SOME, UNKNOWN = 0, 1, 2


def judged(packages: Iterable[dict[str, Any]]) -> tuple[list[str], int]:
    """Return the lines to print, and the exit code, for the `dependencies` in the JSON of `pip-audit`."""
    found = list(packages)
    missing = [each["name"] for each in found if "vulns" not in each]
    lines = [line for each in found for line in _lines(each)]
    looked_up = f"{len(found) - len(missing)} of {len(found)} packages looked up"
    if missing:
        names = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        lines.append(f"NO DATA: the package index tells no vulnerabilities of {names}; {looked_up}")
    if any(each.get("vulns") for each in found):
        return lines, SOME
    if missing or not found:
        return [*lines, "It is not known whether there are vulnerabilities."], UNKNOWN
    return [*lines, f"No known vulnerability; {looked_up}."], NONE


def _lines(package: dict[str, Any]) -> Iterator[str]:
    for each in package.get("vulns", ()):
        names = ", ".join([each["id"], *each.get("aliases", ())])
        fixed = ", ".join(each.get("fix_versions", ())) or "no version"
        yield f"VULNERABLE: {package['name']} {package['version']}: {names}; mended in {fixed}"


def main(program: str, requirements: str) -> int:
    """Run `pip-audit` on a file of requirements."""
    command = [program, "--no-deps", "--disable-pip", "--progress-spinner=off", "--format=json"]
    done = subprocess.run([*command, "--requirement", requirements], capture_output=True, text=True)
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        print(done.stderr, "It is not known whether there are vulnerabilities: pip-audit failed.", sep="\n")
        return UNKNOWN
    lines, code = judged(packages)
    print(*lines, sep="\n")
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
