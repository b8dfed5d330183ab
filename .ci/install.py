"""Install into a virtual environment as `pip install` does, but faster: `install.py VENV ARGUMENT...`.

uv installs in seconds what takes pip two minutes. It does not read pip's configuration, so this script hands it over.
pip takes over where uv cannot be installed or does not reach the index.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
#: uv's variable for each setting of pip's.
NAMES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "constraint": "UV_CONSTRAINT",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
    "no-index": "UV_NO_INDEX",
}


def pip_settings() -> dict[str, str]:
    """Return pip's settings for `pip install`, from its files and from the environment, as variables of uv's."""
    listed = subprocess.run([*PIP, "config", "list"], capture_output=True, text=True, check=True).stdout
    settings: dict[str, dict[str, str]] = {"global": {}, "install": {}, ":env:": {}}
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        section, _, key = name.rpartition(".")
        if section in settings and key in NAMES:
            # pip separates several values by any white space, uv those of find-links by commas.
            values = str(ast.literal_eval(value)).split()
            settings[section][NAMES[key]] = ("," if key == "find-links" else " ").join(values)
    return settings["global"] | settings["install"] | settings[":env:"]


def install(venv: Path, arguments: list[str]) -> int:
    """Install with uv, else with pip; return the exit code."""
    python = str(venv / "bin" / "python")
    if subprocess.run([*PIP, "install", "--quiet", "uv"], check=False).returncode == 0:
        # pip takes the best version of all indexes; uv would take the first index that knows the name.
        environment = {"UV_INDEX_STRATEGY": "unsafe-best-match", **pip_settings(), **os.environ}
        command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", python, *arguments]
        if subprocess.run(command, env=environment, check=False).returncode == 0:
            return 0
        print("uv could not install; trying pip", file=sys.stderr)
    return subprocess.run([*PIP, "--python", python, "install", "--quiet", *arguments], check=False).returncode


if __name__ == "__main__":
    sys.exit(install(Path(sys.argv[1]), sys.argv[2:]))
