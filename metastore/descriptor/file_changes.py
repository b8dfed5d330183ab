"""Computes the files that a write stores, before anything is written.

`prepare` checks a descriptor and gives it the form in which it is stored, with its findings. `changed_files` computes
the files of the dataset that change with it, as do the functions for reverts and undos.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from metastore.descriptor import lfs
from metastore.descriptor.document import DESCRIPTOR, decode, encode, load, same
from metastore.descriptor.limits import limit_size, limit_values, most_values
from metastore.descriptor.resources import check
from metastore.errors import InvalidInput
from metastore.git.objects import blob_id
from metastore.packages import Package, values_of
from metastore.printable import printable
from metastore.types import BlobId, DatasetId, Finding

if TYPE_CHECKING:
    from metastore.descriptor.profiles import Profiles

#: A descriptor as ordinary values, as another library's package, or as JSON text, whose numbers are kept as written.
AnyDescriptor = Mapping[str, Any] | str | bytes | Package
Validation = Literal["off", "warn", "strict"]
FileChanges = dict[str, bytes | BlobId | None]

#: The kinds of findings that `strict` does not refuse: an unknown profile, for example, proves nothing wrong.
_ADVICE = frozenset({"unknown-profile", "no-pointer"})

#: Descriptors that are larger, in bytes, are not compared with the stored one value by value, which takes much memory.
_LARGE = 4 * 1024 * 1024
#: The number of characters of each text that are checked in a large descriptor.
_JUDGED = 100_000

#: The number of revisions whose findings are remembered.
_REMEMBERED = 256

_log = logging.getLogger("metastore.findings")
#: The places that one line of the log names, and the characters of each.
_LOGGED, _LOGGED_CHARACTERS = 5, 100


class Document(NamedTuple):
    """A descriptor that may be stored. `value` equals the parsed `content`, and nothing else refers to it."""

    value: dict[str, Any]
    content: bytes
    findings: tuple[Finding, ...]


def prepare(
    descriptor: Any,
    validation: Validation,
    max_bytes: int | None,
    *,
    profiles: Profiles | None = None,
    with_pointers: bool = False,
) -> Document:
    """Check a descriptor and write it as it will be stored.

    Args:
        descriptor: Ordinary values, JSON text, or a package of another library.
        validation: How to treat a descriptor that breaks its profile.
        max_bytes: The largest descriptor, in bytes as `limits.size_of` counts them, which limits its values too; None
            for any.
        profiles: The profiles to check against, if not only the vendored ones.
        with_pointers: Whether local files get Git LFS pointers.

    Raises:
        InvalidInput: It is not a JSON object, is unsafe or too large, or (strict) is not valid.
    """
    most = most_values(max_bytes) if max_bytes is not None else None
    if isinstance(descriptor, (str, bytes)):
        value = decode(descriptor, max_bytes=max_bytes, max_values=most)
    else:
        value = descriptor if isinstance(descriptor, Mapping) else values_of(descriptor)
        value = dict(value) if isinstance(value, Mapping) else value
    check(value)
    content = encode(value)
    if max_bytes is not None:
        limit_size(content, max_bytes)
        limit_values(content, most_values(max_bytes))
    value = None  # the memory is needed
    value = load(content)
    if validation == "off":
        return Document(value, content, ())
    from metastore.descriptor.profiles import findings

    judged = _cut(value) if len(content) > _LARGE else value
    found = profiles.findings(judged, with_pointers=with_pointers) if profiles else findings(judged)
    if validation == "strict":
        _refuse(found)
    return Document(value, content, found)


def _cut(value: Any) -> Any:
    """Return a value with its long texts cut, since a check would copy each of them."""
    if isinstance(value, dict):
        return {name: _cut(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_cut(item) for item in value]
    return value[:_JUDGED] if isinstance(value, str) else value


def _refuse(findings: Sequence[Finding]) -> None:
    """Raise InvalidInput for the findings that make a descriptor not valid."""
    wrong = [finding for finding in findings if finding.kind not in _ADVICE]
    if wrong:
        problems = tuple((finding.pointer, finding.detail) for finding in wrong)
        message = f"the descriptor is not valid: {wrong[0].detail}"
        if len(wrong) > 1:
            message += f", and {len(wrong) - 1} more"
        raise InvalidInput(message, pointer=wrong[0].pointer, problems=problems)


class KnownFindings:
    """Tells new findings from those of the previous revision.

    A revision never changes, and so its findings are remembered: checking it again would double the time of a write.

    Args:
        profiles: The profiles to check against.
        with_pointers: Whether local files get Git LFS pointers.
    """

    def __init__(self, profiles: Profiles, *, with_pointers: bool) -> None:
        self._profiles, self._with_pointers = profiles, with_pointers
        self._details: dict[str, frozenset[str]] = {}

    def remember(self, revision_id: str, findings: Iterable[Finding]) -> None:
        """Keep the findings of a revision."""
        if len(self._details) >= _REMEMBERED:
            self._details.clear()
        self._details[revision_id] = frozenset(finding.detail for finding in findings)

    def marked(self, document: Document, revision_id: str, content: bytes) -> Document:
        """Mark the findings that a revision with this content has already."""
        if not document.findings:
            return document
        if revision_id not in self._details:
            if len(content) > _LARGE:
                return document
            try:
                self.remember(revision_id, self._profiles.findings(load(content), with_pointers=self._with_pointers))
            except (ValueError, AttributeError):  # another program stored something that is not a descriptor
                return document
        earlier = self._details[revision_id]
        marked = (replace(finding, known=finding.detail in earlier) for finding in document.findings)
        return document._replace(findings=tuple(marked))


def log_findings(dataset_id: DatasetId, findings: Iterable[Finding]) -> None:
    """Log the findings of a finished write as a warning: one line with their number and places.

    Their details stay out of the log, because they quote the descriptor.
    """
    found = tuple(findings)
    pointers = [finding.pointer or "(descriptor)" for finding in found if not finding.known]
    known = sum(finding.known for finding in found)
    if pointers:
        shown = ", ".join(printable(pointer[:_LOGGED_CHARACTERS]) for pointer in pointers[:_LOGGED])
        more = f" and {len(pointers) - _LOGGED:,} more" if len(pointers) > _LOGGED else ""
        places = "place" if len(pointers) == 1 else "places"
        _log.warning("%s breaks its profile in %d %s: %s%s", dataset_id, len(pointers), places, shown, more)
    if known:
        _log.warning("%s: %d problem%s as before", dataset_id, known, "s" * (known != 1))


def unchanged(old: bytes, new: Document) -> bool:
    """Tell whether a descriptor equals the stored one. The order of members does not count, except above 4 MiB."""
    if old == new.content:
        return True
    if len(new.content) > _LARGE:
        return False
    try:
        # Much cheaper than comparing text, and true for all pairs with equal text.
        return bool(load(old) == new.value) and same(old, new.content)
    except (ValueError, InvalidInput):  # the stored content is not ours, and not JSON
        return False


def changed_files(
    old: bytes | None,
    new: Document,
    paths: Mapping[str, BlobId],
    read: Callable[[str], bytes],
    lfs_url_config: bytes | None,
) -> FileChanges:
    """Return the files that differ once a new descriptor replaces the old one.

    The pointers of removed resources are removed too. A file that is not a pointer is never changed, and `.lfsconfig`
    stays as it is.

    Args:
        old: The stored descriptor; None if there is none.
        new: The descriptor to store.
        paths: The files of the dataset.
        read: Returns the content of a file.
        lfs_url_config: The content of a new `.lfsconfig`, if there is none yet; None for no LFS.
    """
    own: FileChanges = {DESCRIPTOR: new.content} if old != new.content else {}
    config = read(lfs.CONFIG) if lfs.CONFIG in paths else lfs_url_config
    if config is None:
        return own
    before, after = _pointers(old), lfs.pointers_of(new.value)
    # Pointers of resources that are no longer there, and pointers that another file or folder keeps from being written.
    gone = {path for path in before if path not in after and path in paths and lfs.is_pointer(read(path))}
    changed = _differing(after, paths)
    blocked = _blocked(changed, [path for path in paths if path not in gone], read)
    tracked = [path for path in after if path not in blocked]
    attributes = read(lfs.ATTRIBUTES) if lfs.ATTRIBUTES in paths else b""
    needed = {lfs.CONFIG: config, lfs.ATTRIBUTES: lfs.attributes(tracked, attributes, gone=(*before, *blocked))}
    pointers: FileChanges = {path: content for path, content in changed.items() if path not in blocked}
    return own | _differing(needed, paths) | pointers | dict.fromkeys(gone)


def _differing(files: Mapping[str, bytes], paths: Mapping[str, BlobId]) -> FileChanges:
    return {path: content for path, content in files.items() if paths.get(path) != blob_id(content)}


def _pointers(content: bytes | None) -> dict[str, bytes]:
    try:
        value = load(content) if content is not None else {}
        return lfs.pointers_of(value) if isinstance(value, dict) else {}
    except (ValueError, InvalidInput):  # written by another program: nothing in it is ours to remove
        return {}


def _blocked(pointers: Iterable[str], kept: list[str], read: Callable[[str], bytes]) -> set[str]:
    """Return the pointers that must not be written, because another file or folder is in their place, or above it."""
    files, folders = set(kept), {folder for path in kept for folder in _folders(path)}
    return {
        path
        for path in pointers
        if path in folders or not files.isdisjoint(_folders(path)) or (path in files and not lfs.is_pointer(read(path)))
    }


def _folders(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:end]) for end in range(1, len(parts))]


def revert_files(now: Mapping[str, BlobId], then: Mapping[str, BlobId]) -> FileChanges:
    """Return the changes that make a tree equal to an older one."""
    changes: FileChanges = {path: blob for path, blob in then.items() if now.get(path) != blob}
    return changes | dict.fromkeys(path for path in now if path not in then)


def undo_files(
    now: Mapping[str, BlobId], after: Mapping[str, BlobId], before: Mapping[str, BlobId], own: Iterable[str]
) -> tuple[FileChanges, list[str]]:
    """Return the changes that undo a change of files in a later tree, and the files that were changed again since.

    Args:
        now: The later tree.
        after: The tree that the change made.
        before: The tree before it.
        own: Files to leave alone, since they follow from the descriptor.
    """
    touched = {path for path in (*after, *before) if after.get(path) != before.get(path)}.difference(own)
    differing = sorted(path for path in touched if now.get(path) != before.get(path))
    changes: FileChanges = {path: before.get(path) for path in differing if now.get(path) == after.get(path)}
    return changes, [path for path in differing if path not in changes]


def own_files(*contents: bytes) -> set[str]:
    """Return the files that follow from descriptors: the descriptor itself, and what Git LFS needs."""
    pointers = (path for content in contents for path in _pointers(content))
    return {DESCRIPTOR, lfs.ATTRIBUTES, lfs.CONFIG, *pointers}


def patch_text(patch: Any, max_bytes: int) -> Any:
    """Return a patch as values, if it came as JSON text."""
    if not isinstance(patch, (str, bytes)):
        return patch
    return decode(patch, max_bytes=max_bytes, max_values=most_values(max_bytes))
