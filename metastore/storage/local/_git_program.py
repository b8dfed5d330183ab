"""Git's own program: running it, and why it failed."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from metastore.errors import StorageUnavailable


class Done(NamedTuple):
    """The result of a run of Git."""

    code: int
    output: str
    errors: str

    @property
    def reason(self) -> str:
        """Why it failed: what the remote said, then the last of Git's own lines before its advice.

        Only their place tells which lines are advice: people may have set Git to any language.
        """
        lines = self.errors.strip().split("\n\n")[0].splitlines()
        own = [line.strip() for line in lines if not line.startswith(("remote:", "hint:")) and re.search(r"\w", line)]
        return "; ".join(filter(None, (self.words, *own[-3:]))) or "Git failed"

    @property
    def words(self) -> str:
        """The messages of a remote for people, without frames and empty lines."""
        lines = [line.removeprefix("remote:") for line in self.errors.splitlines() if line.startswith("remote:")]
        return " ".join(line.strip() for line in lines if re.search(r"\w", line))[:500]


#: Runs Git with some arguments.
Git = Callable[..., Done]


def run(command: list[str]) -> Done:
    """Run a command. Raises StorageUnavailable: Git is not installed."""
    try:
        import subprocess  # slow to import

        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False
        )
    except FileNotFoundError:
        raise StorageUnavailable("this needs Git's own program, git, which is not installed") from None
    return Done(done.returncode, done.stdout, done.stderr)
