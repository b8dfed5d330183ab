"""The configuration of a dataset's repository, which keeps Git's own programs from losing anything in it.

* `receive.hideRefs`: pushes are refused, since `git push` does not wait for the dataset's `flock`.
* `extensions.preciousObjects`: Git deletes no object. A writer stores objects before it sets the reference to them, and
  `git repack -a -d`, `git prune` and `git gc --prune=now` delete what no reference led to when they looked. No order of
  writing is safe from that, as git-gc(1) says under "Notes"; this setting is. Git obeys it in repositories of version 0
  too, where other programs ignore it.
* `core.multiPackIndex`: `git multi-pack-index expire` would delete a pack whose objects the index finds in others, and
  the index may be older than our packing, which removes those.

The configuration is parsed here, not by libgit2: every write looks at it, and loading libgit2 takes longer than most
commands. And `verify` has to know what Git refuses, while libgit2 accepts more.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from functools import lru_cache

from metastore.files.reading import read_file
from metastore.storage.local._locks import git_locked, replace_locked

_WANTED = (
    ("receive", "hideRefs", "refs"),
    ("extensions", "preciousObjects", "true"),
    ("core", "multiPackIndex", "false"),
)
#: The extensions that Git knows; see git-config(1).
_EXTENSIONS = {
    *("compatobjectformat", "noop", "noop-v1", "objectformat", "partialclone", "preciousobjects", "refstorage"),
    *("relativeworktrees", "worktreeconfig"),
}
#: What Git can parse; see "Syntax" in git-config(1). No two alternatives begin alike, so that it takes linear time.
_GRAMMAR = re.compile(
    rb"""(?:\xef\xbb\xbf)?(?:
        \s | [#;][^\n]*
        | \[[\w.-]+(?:[ \t]+"(?:[^"\\\n]|\\[^\n])*")?\]
        | [A-Za-z][\w-]*[ \t]*
          (?:=(?:[^"\\\n\#;]|\\(?:[tbn"\\]|\r?\n)|"(?:[^"\\\n]|\\(?:[tbn"\\]|\r?\n))*")*(?:[#;][^\n]*)?)?
          (?=\r?\n|[#;]|\Z)
    )*""",
    re.VERBOSE,
)
_SECTION = re.compile(r"\s*\[\s*([\w.-]+)\s*(\".*\")?\s*\]\s*(.*)", re.DOTALL)
_VARIABLE = re.compile(r"\s*([\w-]+)\s*=\s*\"?([^\"#;\s]*)\"?\s*([#;].*)?")


def new_config() -> bytes:
    """Return the configuration of a new repository."""
    head = b"[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n"
    return head + lacking(head)


def protect(path: str, read: Callable[[str], bytes | None] = read_file, *, sync: bool) -> None:
    """Give the repository at a path the settings of ours. Only ever called under the dataset's `flock`.

    Args:
        path: The repository's folder.
        read: Reads its configuration.
        sync: Whether to make the change durable.

    Raises:
        StorageBusy: Git has locked the configuration.
    """
    file = f"{path}/config"
    if lacking(read(file) or b""):
        with git_locked([file], sync=sync):
            content = read_file(file) or b""
            lines = content if content.endswith(b"\n") or not content else content + b"\n"
            replace_locked(file, lines + lacking(content), sync=sync)


def fault_of_config(path: str) -> str:
    """Return why Git does not open the repository at a path with its configuration; empty if it does."""
    content = read_file(f"{path}/config") or b""
    read = _GRAMMAR.match(content)
    if os.path.isdir(f"{path}/config") or read is None or read.end() < len(content):
        return "config cannot be read, so Git reads nothing from this repository"
    values = {(section, name): value for section, name, value in _variables(content)}
    version = values.get(("core", "repositoryformatversion"), "0")
    if version not in ("0", "1"):
        return f"config names the repository format {version[:20]}, which Git does not know"
    extensions = {name for section, name in values if section == "extensions"}
    if version == "1" and (unknown := sorted(extensions - _EXTENSIONS)):
        return f"config names the extension {unknown[0][:60]}, which Git does not know"
    return ""


@lru_cache(64)  # nearly all repositories of a store have the same configuration, and each write looks at it
def lacking(config: bytes) -> bytes:
    """Return the lines to append to a configuration so that it protects its repository; see git-config(1)."""
    found = {(section, name): value for section, name, value in _variables(config)}
    return b"".join(
        f"[{section}]\n\t{name} = {value}\n".encode()
        for section, name, value in _WANTED
        if found.get((section, name.lower())) != value
    )


def _variables(config: bytes) -> Iterator[tuple[str, str, str]]:
    section = ""
    for line in config.decode(errors="replace").splitlines():
        if header := _SECTION.fullmatch(line):
            section, line = "" if header[2] else header[1].lower(), header[3]
        if variable := _VARIABLE.fullmatch(line):
            # `transfer.hideRefs` counts for pushes as well.
            yield "receive" if section == "transfer" else section, variable[1].lower(), variable[2]
