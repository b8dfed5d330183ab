"""A limit on the costly requests that one caller has in progress: a few run, some wait, and the rest get a 429.

Requests are limited at one time, not per hour, so a long import that sends one after another is never slowed down. A
caller is the user of a token or session, or else the address that a request comes from.
"""

from __future__ import annotations

import ipaddress

from flask import Flask, Response, current_app, g, request
from werkzeug.exceptions import TooManyRequests

from metastore.errors import AuthenticationError
from metastore.service.datasets import SEARCH
from metastore.service.guard import identity
from metastore.service.places import Places

#: The seconds after which a retry makes sense.
RETRY_AFTER = 1
#: The endpoints whose reads cost little. All others are costly, and so is every write.
_CHEAP = frozenset(
    f"{blueprint}.{name}"
    for blueprint, names in {
        "bundles": ("bundle_read", "bundle_snapshot"),
        "datasets": ("dataset_raw", "dataset_read", "project_read", "resource_list", "resource_read"),
        "description": ("docs", "docs_file", "openapi"),
        "operation": ("health", "measured", "ready"),
        "pages": ("static",),
        "pages.bundle_forms": ("copy", "delete", "edit", "new", "restore", "undo"),
        "pages.bundle_import": ("ask",),
        "pages.bundles": ("show", "snapshot"),
        "pages.dataset_editor": ("edit", "new"),
        "pages.dataset_forms": ("delete", "move", "revert", "tag"),
        "pages.datasets": ("show",),
        "pages.oidc": ("begin", "end"),
        "pages.session": ("form", "show"),
        "pages.tags": ("delete", "edit"),
        "revisions": ("revision_read", "tag_list", "tag_read"),
    }.items()
    for name in names
)
_PARTS = ("path", "resource", "field", "author", "since", "until", "grep")
#: Endpoints that cost much only with one of these parameters.
_COSTLY_WITH = {
    "datasets.dataset_list": (*SEARCH, "at", "include"),
    "pages.history.show": ("changes", "path", "author", "since", "until", "grep"),
    "revisions.changes": ("summary",),
    "revisions.revision_list": ("summary", *_PARTS),
}
_NAME = "metastore.rate"


def install(app: Flask, at_once: int | None) -> None:
    """Limit an application; None sets no limit.

    This limits the routes of the API. The pages call `enter` when they know who is signed in.
    """
    if at_once is None:
        return
    app.extensions[_NAME] = Places(at_once)
    app.before_request(_enter_api)
    app.after_request(_after)
    app.teardown_request(_leave)


def _enter_api() -> None:
    if not (request.endpoint or "").startswith("pages."):
        enter()


def enter() -> None:
    """Wait for a place, if the request is a costly one.

    Raises:
        TooManyRequests: Too many requests of the caller wait already, or this one waited too long.
    """
    places: Places | None = current_app.extensions.get(_NAME)
    if places is None or not _costs_much():
        return
    who = caller()
    if not places.take(who):
        raise TooManyRequests(
            "You have too many costly requests in progress: send fewer at once, and try this one again later.",
            retry_after=RETRY_AFTER,
        )
    g.rate_place = who


def _costs_much() -> bool:
    if request.method not in ("GET", "HEAD"):
        return request.method != "OPTIONS"
    name = request.endpoint
    if name in _COSTLY_WITH:
        return any(parameter in request.args for parameter in _COSTLY_WITH[name])
    return name is not None and name not in _CHEAP


def caller() -> str:
    """Return who sends the request: the user of its token or session, or else an address."""
    try:
        user = identity().user
    except AuthenticationError:  # the route reports it
        user = None
    return f"user {user}" if user is not None else f"address {_address()}"


def _address() -> str:
    """Return the address of the client; a proxy on this machine puts it last into `X-Forwarded-For`."""
    peer = request.remote_addr or ""
    forwarded = request.headers.get("X-Forwarded-For", "").rpartition(",")[2].strip()
    try:
        is_near = not peer or ipaddress.ip_address(peer).is_loopback
        return str(ipaddress.ip_address(forwarded)) if forwarded and is_near else peer
    except ValueError:
        return peer


def _after(response: Response) -> Response:
    """Keep the place of a streamed response until it is sent, and set `Retry-After` on a 429."""
    if response.status_code == TooManyRequests.code:
        response.headers.setdefault("Retry-After", str(RETRY_AFTER))
    who = g.get("rate_place")
    if who is not None and response.is_streamed:
        places: Places = current_app.extensions[_NAME]
        response.call_on_close(lambda: places.give_back(who))
        g.pop("rate_place")
    return response


def _leave(error: BaseException | None) -> None:
    who = g.pop("rate_place", None)
    if who is not None:
        current_app.extensions[_NAME].give_back(who)
