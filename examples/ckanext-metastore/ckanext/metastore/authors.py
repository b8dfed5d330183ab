"""CKAN's users as authors of revisions."""

from __future__ import annotations

from typing import Any

from ckan import model

import metastore

#: The author of changes that no user makes.
PORTAL = metastore.Author("CKAN")


def author(user: str | None, *, emails: bool) -> metastore.Author:
    """Return who makes a change; the portal itself, if it is nobody."""
    found = model.User.get(user) if user else None
    return author_of(found, emails=emails) if found else PORTAL


def author_of(user: Any, *, emails: bool) -> metastore.Author:
    """Return a user of CKAN's as an author: without leave not by his address, but by his name in CKAN."""
    return metastore.Author(user.fullname or user.name, (user.email or "") if emails else user.name)
