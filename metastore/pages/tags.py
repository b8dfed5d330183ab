"""Pages of the tags of a dataset: all of them, and forms that rename, describe and delete one."""

from __future__ import annotations

from itertools import islice
from typing import Any

from flask import Blueprint, render_template, request
from werkzeug.wrappers import Response

from metastore.errors import Conflict, InvalidInput, NotFound, RevisionConflict
from metastore.pages.dataset_forms import expected, to_dataset, written
from metastore.pages.datasets import can, readable_id
from metastore.pages.languages import gettext as _
from metastore.pages.paging import start_of
from metastore.pages.refusals import drawn_again_by
from metastore.service.context import service
from metastore.service.guard import writer
from metastore.types import DatasetId, Tag

tags = Blueprint("tags", __name__)
Page = str | tuple[str, int] | Response
#: The tags of a page, and the most that are read, which is also the most that can be found.
_ROWS, _READ = 50, 10_000


def newest_first(subject: DatasetId, words: str = "") -> list[Tag]:
    """Return the tags of a dataset, newest first; those that have a text in name, description, author or date."""
    wanted = words.casefold()
    found = [tag for tag in islice(service().store.tag_list(subject), _READ) if wanted in _searched(tag)]
    return sorted(found, key=lambda tag: (tag.created, tag.name), reverse=True)


def _searched(tag: Tag) -> str:
    texts = (tag.name, tag.description, tag.author.name, f"{tag.created:%Y-%m-%d}", tag.revision)
    return "\n".join(texts).casefold()


@tags.get("/datasets/<owner>/<name>/tags")
def index(owner: str, name: str) -> str:
    """Show the tags of a dataset, in pages, to find, compare and change one."""
    subject, words, first = readable_id(owner, name), request.args.get("find", "").strip(), start_of()
    found = newest_first(subject, words)
    return render_template(
        "datasets/tags.html",
        id=subject,
        words=words,
        tags=found[first : first + _ROWS],
        first=first,
        total=len(found),
        previous=max(0, first - _ROWS) if first else None,
        following=first + _ROWS if first + _ROWS < len(found) else None,
        can=can(subject),
    )


@tags.get("/datasets/<owner>/<name>/tags/<tag>/edit")
def edit(owner: str, name: str, tag: str) -> str:
    """Show the form that renames or describes a tag."""
    return _asked("edit", readable_id(owner, name), tag)


@tags.get("/datasets/<owner>/<name>/tags/<tag>/delete")
def delete(owner: str, name: str, tag: str) -> str:
    """Ask whether to delete a tag."""
    return _asked("delete", readable_id(owner, name), tag)


def _asked(action: str, subject: DatasetId, name: str) -> str:
    writer(subject, "update")
    return _form(action, subject, service().store.tag_read(subject, name))


def _form(action: str, subject: DatasetId, tag: Tag, given: Any = None, problem: Exception | None = None) -> str:
    """Show the form of a tag; after a conflict, with what the tag is now."""
    overtaken = isinstance(problem, RevisionConflict)
    return render_template(
        f"datasets/tag_{action}.html",
        id=subject,
        tag=tag,
        given={"name": tag.name, "description": tag.description} if given is None else given,
        problem=None if overtaken else problem,
        overtaken=overtaken,
    )


def _again(action: str) -> Any:
    def draw(error: Exception, owner: str, name: str, tag: str) -> str:
        subject = readable_id(owner, name)
        shown = error if isinstance(error, (InvalidInput, Conflict, NotFound)) else None
        return _form(action, subject, service().store.tag_read(subject, tag), request.form, shown)

    return draw


@tags.post("/datasets/<owner>/<name>/tags/<tag>/edit")
@drawn_again_by(_again("edit"))
def update(owner: str, name: str, tag: str) -> Page:
    """Rename or describe a tag."""
    subject, form = readable_id(owner, name), request.form
    changed = service().store.tag_update(
        subject,
        tag,
        new_name=form.get("name", "").strip(),
        description=form.get("description", ""),
        expected=expected(),
        **written("update", subject),
    )
    return to_dataset(subject, _("Saved the tag %(name)s.", name=changed.name))


@tags.post("/datasets/<owner>/<name>/tags/<tag>/delete")
@drawn_again_by(_again("delete"))
def remove(owner: str, name: str, tag: str) -> Page:
    """Delete a tag; its revision stays."""
    subject = readable_id(owner, name)
    service().store.tag_delete(subject, tag, expected=expected(), **written("update", subject))
    return to_dataset(subject, _("Deleted the tag %(name)s. Its revision stays.", name=tag))
