"""Pages that choose one side of a comparison: among all tags and revisions, by words or page by page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from flask import Blueprint, render_template, request

from metastore.pages.datasets import readable_id
from metastore.pages.paging import start_of
from metastore.pages.tags import newest_first
from metastore.service.context import service
from metastore.types import DatasetId

choosing = Blueprint("choosing", __name__)
#: The choices of a page, and the most revisions that are read to find some.
_ROWS, _READ = 50, 10_000


@dataclass(frozen=True, slots=True)
class Choice:
    """A revision, by its id or by a tag.

    Attributes:
        value: The name of the tag, or the id of the revision.
        is_tag: Whether it is a tag.
        words: The description of the tag, or the first line of the revision's message.
        who: The name of the author.
        created: When.
    """

    value: str
    is_tag: bool
    words: str
    who: str
    created: datetime


@choosing.get("/datasets/<owner>/<name>/compare/choose")
def show(owner: str, name: str) -> str:
    """Show tags and revisions, each with a link to the comparison that has it on the side to choose."""
    subject, words, first = readable_id(owner, name), request.args.get("find", "").strip(), start_of()
    side = "to" if request.args.get("side") == "to" else "from"
    sides = {"from": request.args.get("from", ""), "to": request.args.get("to", "")}
    rows = list(islice(_choices(subject, words), first, first + _ROWS + 1))
    return render_template(
        "datasets/choose.html",
        id=subject,
        side=side,
        other={key: value for key, value in sides.items() if key != side and value},
        words=words,
        rows=rows[:_ROWS],
        previous=max(0, first - _ROWS) if first else None,
        following=first + _ROWS if len(rows) > _ROWS else None,
    )


def _choices(subject: DatasetId, words: str) -> Iterator[Choice]:
    """Yield tags, then revisions, newest first."""
    for tag in newest_first(subject, words):
        yield Choice(tag.name, True, tag.description.partition("\n")[0], tag.author.name, tag.created)
    wanted = words.casefold()
    for stored in islice(service().store.revision_list(subject), _READ):
        title = stored.message.partition("\n")[0]
        if wanted in f"{stored.id}\n{title}\n{stored.author.name}\n{stored.created:%Y-%m-%d}".casefold():
            yield Choice(stored.id, False, title, stored.author.name, stored.created)
