"""Forms that are refused: each is drawn again with what was typed, one sentence on what happened, and a way to go on.

A view that takes a form says with `drawn_again_by` how to draw it. Every error that leaves the view, or that keeps the
request from reaching it, goes to `answer`, so that no view can lose what somebody typed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

from flask import current_app, g, render_template, request
from flask_wtf.csrf import CSRFError
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge
from werkzeug.wrappers import Response

from metastore.errors import (
    AuthenticationError,
    BundleDeleted,
    Conflict,
    DatasetDeleted,
    InvalidInput,
    MetastoreError,
    OutcomeUnknown,
)
from metastore.pages import formatting
from metastore.service.context import service
from metastore.service.guard import may_read
from metastore.service.problems import plainly, status_of

Page = str | tuple[str, int] | Response
_View = TypeVar("_View", bound=Callable[..., Any])
_log = logging.getLogger("metastore")
#: A form has at most this many fields; and at most this many bytes if it comes from no page of ours, unsigned.
_MOST_FIELDS, _LARGEST_OF_STRANGERS = 100, 256 * 1024
#: The field in which somebody signs in on the form that they were about to send.
SIGN_IN = "sign_in_token"
#: Fields that belong to one drawing of a form, not to what was typed.
_OF_THE_PAGE = ("csrf_token", SIGN_IN)
#: Views -> what draws their form again, from an error and the arguments of the path.
_drawn_by: dict[Callable[..., Any], Callable[..., Page]] = {}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a form was refused, as the page says it.

    Attributes:
        sentence: What happened.
        is_sure: Whether it is certain that nothing was saved.
        sign_in: Whether the person has to sign in before they send it again.
        step: Which button of the form was pressed; empty if it has only one.
        provider: Where people sign in; None if they do so with a token alone.
    """

    sentence: str
    is_sure: bool
    sign_in: bool
    step: str
    provider: str | None


def drawn_again_by(draw: Callable[..., Page]) -> Callable[[_View], _View]:
    """Name what draws the form of a view again: it takes the error, then the arguments of the path."""

    def register(view: _View) -> _View:
        _drawn_by[view] = draw
        return view

    return register


def check_size() -> None:
    """Refuse a form that no page of ours sends, before it is parsed.

    Raises:
        RequestEntityTooLarge: It has too many fields, or is large and comes from a stranger.
    """
    if request.method != "POST":
        return
    content = request.get_data()
    if content.count(b"&") > _MOST_FIELDS and request.mimetype == "application/x-www-form-urlencoded":
        raise RequestEntityTooLarge("the form has too many fields")
    if g.identity.anonymous and len(content) > _LARGEST_OF_STRANGERS and not _is_from_here():
        raise RequestEntityTooLarge("sign in first: the form is too large for somebody who is not signed in")


def check_signed_in() -> None:
    """Check that whoever sends a form that changes something is signed in.

    Raises:
        AuthenticationError: They are not.
    """
    if request.method == "POST" and g.identity.anonymous and _drawer() is not None:
        raise AuthenticationError("you are not signed in any more", missing=True)


def answer(error: Exception) -> Page | None:
    """Draw the refused form again.

    Returns:
        The page and its status; None if the request is no form that changes something, or if another site sent it.
    """
    draw = _drawer()
    if request.method != "POST" or draw is None or not _may_be_shown(error):
        return None
    error = plainly(error) if isinstance(error, MetastoreError) else error
    status = _status(error)
    # The form itself shows what is wrong in its fields, and what others changed.
    explained = isinstance(error, (InvalidInput, Conflict))
    g.refusal = None if explained else _refusal(error)
    try:
        page = draw(error, **(request.view_args or {}))
    except Exception as failure:  # what was typed is shown even where the form itself cannot be drawn
        if not isinstance(failure, (MetastoreError, HTTPException)):
            _log.exception("%s %s: the form cannot be drawn again", request.method, request.path)
        g.refusal = g.refusal or _refusal(error)
        page = render_template("again.html", typed=_typed())
    return (page, status) if isinstance(page, str) else page


def is_explained() -> None:
    """Note that the form itself says why it was refused, so that nothing stands above it."""
    g.refusal = None


def _drawer() -> Callable[..., Page] | None:
    view = current_app.view_functions.get(request.endpoint or "")
    return _drawn_by.get(view) if view else None


def _may_be_shown(error: Exception) -> bool:
    """Tell whether what was sent may be shown with a button that sends it: it was typed into a page of ours.

    Behind `CSRFProtect` it was. What it refused, or has not seen yet, is believed if the browser says where it is from.
    """
    return not isinstance(error, (CSRFError, RequestEntityTooLarge)) or _is_from_here()


def _is_from_here() -> bool:
    """Tell whether a page of ours sent the request: browsers name the origin, and pages of others cannot change it."""
    origin = urlsplit(request.headers.get("Origin", "")).netloc
    return bool(origin) and origin in (request.host, urlsplit(service().settings.public_url or "").netloc)


def _status(error: Exception) -> int:
    if isinstance(error, MetastoreError):
        return status_of(error)
    return (error.code or 500) if isinstance(error, HTTPException) else 500


def _refusal(error: Exception) -> Refusal:
    nobody = getattr(g.get("identity"), "anonymous", True)
    return Refusal(
        sentence=_sentence(error, nobody=nobody),
        is_sure=not isinstance(error, OutcomeUnknown) and _status(error) != 500,
        sign_in=nobody or isinstance(error, AuthenticationError),
        step=request.form.get("step", ""),
        provider=service().settings.oidc_issuer,
    )


def _sentence(error: Exception, *, nobody: bool) -> str:
    """Return what happened, for people."""
    if nobody and (isinstance(error, CSRFError) or (isinstance(error, AuthenticationError) and error.missing)):
        return "You are not signed in any more."
    if isinstance(error, CSRFError):
        return "This form was opened before you signed in. Look at it again, then send it."
    if isinstance(error, AuthenticationError):
        return f"Token not recognised: {error}."
    if isinstance(error, DatasetDeleted) and may_read(error.dataset_id):  # type: ignore[arg-type]
        deletion = error.revision
        return _deleted(str(error.dataset_id), deletion.author.name, deletion.created, deletion.message)
    if isinstance(error, BundleDeleted):
        return _deleted(error.name, error.snapshot.user, error.snapshot.created, error.snapshot.comment)
    if isinstance(error, HTTPException):
        return formatting.sentence(error.description or "Invalid request")
    if isinstance(error, MetastoreError):
        return formatting.sentence(formatting.said(error))
    return "Something went wrong. The service's log says why."


def _deleted(subject: str, who: str, when: Any, why: str) -> str:
    reason = f": {why.splitlines()[0]}" if why.strip() else ""
    return f"{who} deleted {subject} on {when:%Y-%m-%d at %H:%M} UTC{reason}."


def _typed() -> list[tuple[str, str]]:
    """Return the fields of the form as they were sent; a file becomes its text."""
    fields = [(name, value) for name, value in request.form.items(multi=True) if name not in _OF_THE_PAGE]
    return fields + [("text", text) for text in map(text_of, request.files.values()) if text]


def text_of(file: Any) -> str:
    """Return the text of a file that was sent; empty if it is none."""
    file.seek(0)
    try:
        return str(file.read().decode("utf-8-sig"))
    except UnicodeDecodeError:
        return ""
