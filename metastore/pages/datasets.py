"""Pages of datasets that only show: the catalogue, a dataset at any revision, its history, two revisions compared."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from flask import Blueprint, render_template, request

from metastore.auth.access import Identity, allows
from metastore.descriptor.difference import changes
from metastore.descriptor.document import load, load_written, to_line
from metastore.descriptor.resources import check
from metastore.errors import DatasetDeleted, DatasetMoved, InvalidInput, MetastoreError, NotADescriptor, NotFound
from metastore.history.parts import parse_part
from metastore.pages import markdown
from metastore.pages.citing import Citation, authors_of, publisher_of
from metastore.pages.files import file_of
from metastore.pages.overview import Overview, size
from metastore.pages.paging import start_of
from metastore.pages.places import in_words, part_in_words
from metastore.pages.resource_dates import last_changes
from metastore.pages.resources import resource_page
from metastore.pages.versions import Version, versions_of
from metastore.parse import parse_dataset_id
from metastore.service import requests
from metastore.service.context import address, service
from metastore.service.guard import identity, may_read, require_read
from metastore.service.part_history import blamed
from metastore.store.summaries import last_state
from metastore.types import Dataset, DatasetId, Finding, Revision, RevisionId

datasets = Blueprint("datasets", __name__)
#: The parameter with the former id that led to a dataset.
MOVED_FROM = "moved_from"
_ROWS = 50
#: The revisions that the chart of the activity covers.
_SEEN = 1000
_SHOWN_PROBLEMS = 100
#: The findings of the last revisions: 100 findings of 300 characters each, so at most some 15 MB.
_MOST_CHECKED = 250
_checked: dict[RevisionId, tuple[Finding, ...]] = {}
_SHOWN_VALUES = 1000
#: The versions that the page of a dataset lists.
_VERSIONS = 8
#: The longest description, in characters, and `datapackage.json`, in bytes, on the page. The file has all of it.
_LONGEST_DESCRIPTION, _LONGEST_TEXT = 20_000, 64_000
#: Larger descriptors, in bytes, are not compared on the page of a dataset.
_LARGE = 1_000_000
#: The longest value in a table, in characters.
_LONGEST_VALUE = 400


@datasets.get("/datasets/<owner>/<name>")
def show(owner: str, name: str) -> str | tuple[str, int]:
    """Show a dataset at its newest or an older revision."""
    subject, revision = readable_id(owner, name), request.args.get("revision")
    store = service().store
    try:
        found = store.dataset_read(subject, revision)
    except DatasetDeleted as error:
        return render_template("datasets/deleted.html", id=subject, revision=error.revision, can=can(subject)), 410
    except NotADescriptor as problem:
        return _show_raw(subject, problem)
    newest = store.revision_read(subject)
    return render_template(
        "datasets/show.html",
        **_facts(found),
        is_newest=newest.id == found.revision.id,
        former=_former(subject),
        can=can(subject),
    )


def _former(subject: DatasetId) -> DatasetId | None:
    """Return the former id of a dataset that led to its page; None if it never had the one in the address."""
    try:
        former = parse_dataset_id(request.args.getlist(MOVED_FROM)[-1])
        service().store.revision_read(former)
    except DatasetMoved as error:
        return former if error.new_id == subject and may_read(former) else None
    except (IndexError, MetastoreError):
        pass
    return None


def _show_raw(subject: DatasetId, problem: NotADescriptor) -> str:
    """Show the content of a revision that is not a descriptor, as text."""
    revision, content = service().store.dataset_bytes(subject, problem.revision)
    is_newest = service().store.revision_read(subject).id == revision.id
    text = content.decode("utf-8", "replace")
    return render_template(
        "datasets/raw.html", id=subject, revision=revision, problem=problem, text=text, is_newest=is_newest
    )


def _facts(found: Dataset) -> dict[str, Any]:
    seen = Overview(_with_written_version(found), str(found.id))
    is_large = len(found.bytes) > _LARGE
    versions, tags = versions_of(found.id, _VERSIONS, compared=not is_large)
    dates = {} if is_large else last_changes(found.id, found.revision, found.descriptor)
    lines, shown = _lines(found), resource_page(seen.resources, request.args, dates)
    file = file_of(shown.cards[0].resource, found.id, found.revision.id) if shown.alone else None
    if file is not None:
        lines["file"] = f"git -C {found.id.name} checkout {found.revision.id[:12]} -- {shlex.quote(file.path)}"
    return {
        "id": found.id,
        "revision": found.revision,
        "seen": seen,
        "description": markdown.render(seen.description[:_LONGEST_DESCRIPTION]),
        "is_cut": len(seen.description) > _LONGEST_DESCRIPTION,
        "findings": _findings(found),
        "markdown": markdown.render,
        "text": "" if len(found.bytes) > _LONGEST_TEXT else found.bytes.decode("utf-8", "replace"),
        "shown": shown,
        "file": file,
        "size": size,
        "versions": versions,
        "tags": tags,
        "names": [each.tag.name for each in versions if each.tag.revision == found.revision.id],
        "lines": lines,
        "citation": _citation(found, seen, versions, lines["link"]),
    }


def _with_written_version(found: Dataset) -> Mapping[str, Any]:
    """Return the descriptor. A version that is a number is as it was written: 1.10 and 1.1 are two versions."""
    return load_written(found.bytes) if isinstance(found.descriptor.get("version"), float) else found.descriptor


def _citation(found: Dataset, seen: Overview, versions: Sequence[Version], link: str) -> Citation:
    tag = next((each.tag.name for each in versions if each.tag.revision == found.revision.id), "")
    authors = authors_of(seen.contributors, found.id)
    publisher = publisher_of(seen.contributors)
    return Citation(found.id, seen.title, authors, publisher, tag or seen.version, found.revision.created, link)


def _findings(found: Dataset) -> tuple[Finding, ...]:
    """Return at most 100 findings of a revision, and the number of others. Each revision is checked only once."""
    known = _checked.get(found.revision.id)
    if known is None:
        try:
            check(found.descriptor)
            known = service().store.profiles.findings(found.descriptor)
        except InvalidInput as error:  # stored by another program
            known = tuple(Finding(pointer, detail) for pointer, detail in error.problems[:_SHOWN_PROBLEMS])
        except UnicodeEncodeError:  # likewise
            known = (Finding("", "a text has half of a surrogate pair, which is not a character"),)
        while len(_checked) >= _MOST_CHECKED:
            _checked.pop(next(iter(_checked)), None)
        _checked[found.revision.id] = known
    return known


def _lines(found: Dataset) -> dict[str, str]:
    """Return lines to copy: the permanent address of the revision, and how to get it with curl, in Python and in R."""
    root = address(request.root_path)
    api = f"{root}/api/v1/datasets/{found.id}?revision={found.revision.id}"
    python = (
        "import metastore\n\n"
        f'store = metastore.connect("{root}")\n'
        f'dataset = store.dataset_read("{found.id}", "{found.revision.id}")\n'
        'print(dataset.descriptor.get("title"))'
    )
    return {
        "clone": _clone_line(found.id),
        "link": f"{root}/datasets/{found.id}?revision={found.revision.id}",
        "api": api,
        "curl": f"curl --fail '{api}'",
        "python": python,
        "r": f'dataset <- jsonlite::fromJSON("{api}")\nprint(dataset$title)',
    }


def _clone_line(dataset_id: DatasetId) -> str:
    """Return the command that clones a dataset, from this service or from the address in the settings."""
    template = service().settings.clone_url or f"{address(request.root_path)}/git/{{owner}}/{{name}}.git"
    return "git clone " + template.replace("{owner}", dataset_id.owner).replace("{name}", dataset_id.name)


def _part_in_words(subject: DatasetId, revision: str | None, path: str) -> str:
    """Return a part that a JSON Pointer names in words; the pointer if the revision has no such part."""
    part = parse_part(path)
    try:
        descriptor = load(last_state(service().store, subject, revision)[1]) if part else None
    except (NotFound, ValueError):
        return path
    return part_in_words(descriptor, part or ()) or path


@datasets.get("/datasets/<owner>/<name>/blame")
def blame(owner: str, name: str) -> str:
    """Show the revision that each value comes from, for all values or those of one part."""
    subject, revision, path = readable_id(owner, name), request.args.get("revision"), request.args.get("path", "")
    part = f"{path.rstrip('/')}/"
    values = [value for value in blamed(subject, revision) if f"{value.pointer}/".startswith(part)]
    values.sort(key=lambda value: value.pointer.startswith("/resources/"))  # before those of a hundred files
    first = start_of()
    shown = values[first : first + _SHOWN_VALUES]
    texts = [(value, "null" if value.value is None else whole_text(value.value)) for value in shown]
    rows = [(value, text if len(values) == 1 else shortened_text(text), text) for value, text in texts]
    return render_template(
        "datasets/blame.html",
        id=subject,
        revision=revision,
        path=path,
        part=_part_in_words(subject, revision, path),
        in_words=in_words,
        rows=[(value, text, text != whole) for value, text, whole in rows],
        first=first,
        total=len(values),
        previous=max(0, first - _SHOWN_VALUES) if first else None,
        following=first + _SHOWN_VALUES if len(values) > first + _SHOWN_VALUES else None,
    )


def readable_id(owner: str, name: str) -> DatasetId:
    """Return the id in a path, if the caller may know of it. Raises DatasetNotFound."""
    subject = requests.dataset_id(owner, name)
    require_read(subject)
    return subject


def owners_of(who: Identity) -> list[str]:
    """Return the owners under whom the user may create datasets; `*` stands for all."""
    granted = {scope.owner or "*" for scope in who.scopes if "create" in scope.actions and scope.name is None}
    return ["*"] if "*" in granted else sorted(granted)


def can(subject: DatasetId) -> frozenset[str]:
    """Return the caller's actions on a dataset; not a dict, whose `update` method a template would take for true."""
    who = identity()
    return frozenset(action for action in ("update", "create", "delete", "purge") if allows(who, action, subject))


def between(subject: DatasetId, old: str, new: Revision) -> list[Any]:
    """Return the changes of others since a revision, in words; nothing if it is unknown."""
    store = service().store
    try:
        before = load_written(store.dataset_json(subject, old)[1])
        after = {} if new.deleted else load_written(store.dataset_json(subject, new.id)[1])
    except (NotFound, NotADescriptor):
        return []
    return list(changes(before, after))


def text_of_value(value: Any) -> str:
    """Return a value of a descriptor as text for people, shortened; a string without its quotation marks."""
    return shortened_text(whole_text(value))


def whole_text(value: Any) -> str:
    """Return a value of a descriptor as text for people: strings without quotation marks, lists of them with commas."""
    if value is None:
        return ""
    if isinstance(value, list) and value and all(isinstance(item, str) and item and "," not in item for item in value):
        return ", ".join(value)
    return value if isinstance(value, str) else to_line(value)


def shortened_text(text: str, longest: int = _LONGEST_VALUE) -> str:
    """Return a text, cut to the length that a table shows."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
