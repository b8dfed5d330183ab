"""Runs the examples and a part of the tests on a machine that is set up as nobody expects it: `make hostile`.

The checkout belongs to somebody else, and its path has a space and an `ü`. Git signs commits and tags, converts the
ends of lines and has another name for the first branch. The locale is C, then Turkish, in which Git speaks Turkish; the
clock is Nepal's, a quarter off the hour; new files are private; and in the second round the user is not root.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from .processes import SOAK

ROOT = Path(__file__).parent.parent
#: There is no `safe.directory`, so that Git refuses what belongs to others.
GIT = """
[commit]
	gpgsign = true
[tag]
	gpgsign = true
[init]
	defaultBranch = trunk
[core]
	autocrlf = true
[transfer]
	fsckObjects = true
[push]
	followTags = true
[gpg]
	program = {signer}
"""
#: Says what Git wants to hear of GnuPG, and signs with a text.
SIGNER = """#!/bin/sh
cat >/dev/null
echo '[GNUPG:] BEGIN_SIGNING' >&2
echo '[GNUPG:] SIG_CREATED D 1 8 00 1700000000 AAAA' >&2
printf -- '-----BEGIN PGP SIGNATURE-----\\n\\nAAAA\\n-----END PGP SIGNATURE-----\\n'
"""
#: The examples and tests of each round; the soak plays all of them in both.
FIRST = (
    ("tour", "bundles", "serve"),
    ("test_git_agrees", "test_mirror", "bundle/test_record"),
)
SECOND = (
    ("tour",),
    ("test_storage_contract", "test_backup", "test_own_key", "test_cli", "test_interop"),
)
#: What is no folder on this machine is left out; and so is what others may read, since new files are private, and what
#: is killed at one step after the other, since those steps are the same on every machine.
LEFT_OUT = "github gitlab gitea https memory postgres service may_only_read killed_anywhere"
#: Who owns the checkout; no such user is needed.
STRANGER = 54321


def checkout(folder: Path) -> Path:
    """Copy the files of the repository to a folder that belongs to a stranger, if we may give files away."""
    copy = folder / "a checkout für uns"
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    ).stdout
    for name in filter(None, listed.decode().split("\0")):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    for folder in ("metastore", "tests", "examples"):  # to compile all of it again takes longer than most of the tests
        for compiled in (ROOT / folder).rglob("__pycache__"):
            if (copy / compiled.parent.relative_to(ROOT)).is_dir():
                shutil.copytree(compiled, copy / compiled.relative_to(ROOT))
    if os.geteuid() == 0:
        for path in (copy, *copy.rglob("*")):
            os.chown(path, STRANGER, STRANGER)
    else:
        print("the checkout is our own: only root gives files away")
    return copy


def turkish(folder: Path) -> dict[str, str]:
    """Make the Turkish locale, which few machines have; return the variables that choose it."""
    made = shutil.which("localedef") and subprocess.run(
        ["localedef", "-i", "tr_TR", "-f", "UTF-8", folder / "tr_TR.UTF-8"], check=False, capture_output=True
    )
    if not made or made.returncode > 1:  # 1 is a warning
        print("there is no Turkish locale here: its name alone is set")
    return {"LANG": "tr_TR.UTF-8", "LOCPATH": str(folder)}


def unprivileged() -> list[str] | None:
    """Return the command that runs another one as a user who is not root, or None if there is none.

    In a namespace of its own a process is not root, and yet the owner of our files, the interpreter's too.
    """
    if os.geteuid() != 0:
        return []
    command = ["unshare", "--user"]
    tried = subprocess.run([*command, "true"], check=False, capture_output=True) if shutil.which("unshare") else None
    return command if tried and tried.returncode == 0 else None


def run(round_: Sequence[Sequence[str]], folder: Path, prefix: Sequence[str], variables: dict[str, str]) -> bool:
    """Run Python programs in the checkout, one after the other; tell whether all went well, and show what did not."""
    home = folder / "home"
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "TMPDIR": str(folder),
        "TZ": "Asia/Kathmandu",
        "PYTHONPATH": str(folder / "a checkout für uns"),
        "METASTORE_TEST_GIT_CONFIG": (home / ".gitconfig").read_text(),
        **variables,
    }
    for program in round_:
        done = subprocess.run(
            [*prefix, sys.executable, *program],
            cwd=environment["PYTHONPATH"],
            env=environment,
            umask=0o077,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        output = done.stdout.decode(errors="replace")
        print(f"{program[-1]}: {output.splitlines()[-1] if program[0] == '-m' else 'ran'}", flush=True)
        if done.returncode:
            print(output)
            return False
    return True


def programs(examples: Sequence[str], tests: Sequence[str]) -> list[list[str]]:
    """Return the arguments of Python for each program of a round."""
    options = ["-n", "0", "-q", "-p", "no:cacheprovider", "-p", "no:schemathesis", "--tb", "short", "-m", "not soak"]
    options += ["-k", " and ".join(f"not {word}" for word in LEFT_OUT.split())]
    files = [f"tests/{name}.py" for name in tests]
    return [*([f"examples/{name}.py"] for name in examples), ["-m", "pytest", *options, *files]]


def main() -> int:
    """Play both rounds; return the exit code."""
    all_tests = tuple(dict.fromkeys((*FIRST[1], *SECOND[1])))
    first, second = ((FIRST[0], all_tests),) * 2 if SOAK else (FIRST, SECOND)
    with tempfile.TemporaryDirectory(prefix="metastore-hostile-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        checkout(folder)
        (folder / "home").mkdir()
        (folder / "home/.gitconfig").write_text(GIT.format(signer=folder / "signer"))
        (folder / "signer").write_text(SIGNER)
        (folder / "signer").chmod(0o755)
        well = run(programs(*first), folder, [], {"LC_ALL": "C"})
        command = unprivileged()
        if command is None:
            print("the second round is skipped: root cannot become another user here (unshare --user)")
            return 0 if well else 1
        return 0 if run(programs(*second), folder, command, turkish(folder)) and well else 1


if __name__ == "__main__":
    sys.exit(main())
