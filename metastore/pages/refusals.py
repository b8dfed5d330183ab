"""Refused forms. Each is shown again with the user's input, one sentence on what happened, and a way to go on.

A view that takes a form names with `drawn_again_by` the function that draws it. Every error, of the view or
before it, goes to `answer`, so that no view can lose a user's input. So does another language that the user chooses
on a page that a form led to.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any, TypeVar
from urllib.parse import unquote_to_bytes, urlsplit

from flask import current_app, g, render_template, request
from flask_wtf.csrf import CSRFError
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge
from werkzeug.formparser import FormDataParser
from werkzeug.wrappers import Response

from metastore.descriptor.limits import size_of
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
from metastore.pages.languages import ONLY_DRAW
from metastore.pages.languages import gettext as _
from metastore.service.context import service
from metastore.service.guard import may_read
from metastore.service.problems import plainly, status_of

Page = str | tuple[str, int] | Response
_View = TypeVar("_View", bound=Callable[..., Any])
_log = logging.getLogger("metastore")
#: The most fields of a form, and the most bytes of one from another site by a user who is not signed in.
_MOST_FIELDS, _LARGEST_OF_STRANGERS = 100, 256 * 1024
#: The most bytes of any form, and those that a text in it may take in memory to be shown again.
_LARGEST, _LARGEST_SHOWN = 6 * 1024 * 1024, 8 * 1024 * 1024
#: The bytes of a form that are decoded at once.
_PIECE = 64 * 1024
_URL_ENCODED = "application/x-www-form-urlencoded"
#: The field for a token, with which a user signs in on a refused form.
SIGN_IN = "sign_in_token"
#: Fields that belong to the page, not to the user's input.
_OF_THE_PAGE = ("csrf_token", SIGN_IN, ONLY_DRAW)
#: View -> function that draws its form again, from an error and the arguments of the path.
_drawn_by: dict[Callable[..., Any], Callable[..., Page]] = {}


class DrawnAgain(Exception):
    """Nothing is wrong with a form: its user only wants to see it in another language."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The reason why a form was refused, for its page.

    Attributes:
        sentence: The reason.
        is_sure: Whether it is certain that nothing was saved.
        sign_in: Whether the user has to sign in before they send the form again.
        step: The button of the form that was pressed; empty if it has only one.
        provider: The provider to sign in at; None if users sign in with a token only.
    """

    sentence: str
    is_sure: bool
    sign_in: bool
    step: str
    provider: str | None


def drawn_again_by(draw: Callable[..., Page]) -> Callable[[_View], _View]:
    """Name the function that draws a view's form again. It takes the error, then the arguments of the path."""

    def register(view: _View) -> _View:
        _drawn_by[view] = draw
        return view

    return register


class _FormParser(FormDataParser):
    """Decodes a form in pieces: the standard library makes objects of each `%5B`, and a form may have two million."""

    def parse(
        self, stream: IO[bytes], mimetype: str, content_length: int | None, options: dict[str, str] | None = None
    ) -> tuple[IO[bytes], MultiDict[str, str], MultiDict[str, Any]]:
        if mimetype != _URL_ENCODED:
            return super().parse(stream, mimetype, content_length, options)
        fields = (field.partition(b"=") for field in stream.read().split(b"&") if field)
        return stream, self.cls([(_decoded(name), _decoded(value)) for name, _, value in fields]), self.cls()


def _decoded(text: bytes) -> str:
    decoded, start = bytearray(), 0
    while start < len(text):
        end = start + _PIECE
        cut = text.rfind(b"%", end - 2, end)  # what it begins goes on after the piece
        end = end if cut < 0 else cut
        decoded += unquote_to_bytes(text[start:end].replace(b"+", b" "))
        start = end
    return decoded.decode(errors="werkzeug.url_quote")


def check_size() -> None:
    """Refuse a form that none of our pages can send, before it is parsed.

    Raises:
        RequestEntityTooLarge: It is too large, or has too many fields, or is large, from another site, and its user is
            not signed in.
    """
    if request.method != "POST":
        return
    request.max_content_length = _LARGEST
    request.form_data_parser_class = _FormParser
    try:
        content = request.get_data()
    except RequestEntityTooLarge:
        raise RequestEntityTooLarge(
            _("a form has at most %(most)s bytes: send more with `metastore`", most=formatting.number(_LARGEST))
        ) from None
    if content.count(b"&") > _MOST_FIELDS and request.mimetype == _URL_ENCODED:
        raise RequestEntityTooLarge(_("the form has too many fields"))
    if g.identity.anonymous and len(content) > _LARGEST_OF_STRANGERS and not _is_from_here():
        raise RequestEntityTooLarge(_("sign in first: the form is too large for a user who is not signed in"))


def check_signed_in() -> None:
    """Check that the user of a form that changes something is signed in.

    Raises:
        AuthenticationError: The user is not signed in.
    """
    if request.method == "POST" and g.identity.anonymous and _drawer() is not None:
        raise AuthenticationError(_("you are no longer signed in"), missing=True)


def takes_form() -> bool:
    """Tell whether the request is a form that changes something, so that its page has the form, with the id `typed`."""
    return request.method == "POST" and _drawer() is not None


def only_drawn() -> Page | None:
    """Draw a form again if its user asks for no more than that. Returns None for any other request."""
    draw = _drawer()
    if request.method != "POST" or draw is None or not request.form.get(ONLY_DRAW):
        return None
    return _drawn(draw, DrawnAgain())


def answer(error: Exception) -> Page | None:
    """Draw the refused form again.

    Returns:
        The page and its status; None if the request is not a form that changes something, or came from another site.
    """
    draw = _drawer()
    if request.method != "POST" or draw is None or not _may_be_shown(error):
        return None
    error = plainly(error) if isinstance(error, MetastoreError) else error
    status = _status(error)
    # The form itself shows mistakes in its fields, and the changes of others.
    explained = isinstance(error, (InvalidInput, Conflict))
    g.refusal = None if explained else _refusal(error)
    page = _drawn(draw, error)
    return (page, status) if isinstance(page, str) else page


def _drawn(draw: Callable[..., Page], error: Exception) -> Page:
    """Draw a form; if that is impossible, one with the bare input."""
    try:
        return draw(error, **(request.view_args or {}))
    except Exception as failure:
        if not isinstance(failure, (MetastoreError, HTTPException)):
            _log.exception("%s %s: the form cannot be drawn again", request.method, request.path)
        g.refusal = g.get("refusal") or _refusal(failure if isinstance(error, DrawnAgain) else error)
        return render_template("again.html", typed=_typed())


def is_explained() -> None:
    """Note that the form itself gives the reason, so that the page has none above it."""
    g.refusal = None


def _drawer() -> Callable[..., Page] | None:
    view = current_app.view_functions.get(request.endpoint or "")
    return _drawn_by.get(view) if view else None


def _may_be_shown(error: Exception) -> bool:
    """Tell whether the input may be shown with a button that sends it, since a user typed it into one of our pages.

    `CSRFProtect` makes sure of that. For a request that it refused, or has not checked yet, the browser's word counts.
    """
    return not isinstance(error, (CSRFError, RequestEntityTooLarge)) or _is_from_here()


def _is_from_here() -> bool:
    """Tell whether one of our pages sent the request: browsers name the origin, and other sites cannot change it."""
    try:
        origin = urlsplit(request.headers.get("Origin", "")).netloc
    except ValueError:  # such as http://[
        return False
    return bool(origin) and origin in (request.host, urlsplit(service().settings.public_url or "").netloc)


def _status(error: Exception) -> int:
    if isinstance(error, MetastoreError):
        return status_of(error)
    return (error.code or 500) if isinstance(error, HTTPException) else 500


def _refusal(error: Exception) -> Refusal:
    anonymous = getattr(g.get("identity"), "anonymous", True)
    return Refusal(
        sentence=_sentence(error, anonymous=anonymous),
        is_sure=not isinstance(error, OutcomeUnknown) and _status(error) != 500,
        sign_in=anonymous or isinstance(error, AuthenticationError),
        step=request.form.get("step", ""),
        provider=service().settings.oidc_issuer,
    )


def _sentence(error: Exception, *, anonymous: bool) -> str:
    """Return the reason, for people."""
    if anonymous and (isinstance(error, CSRFError) or (isinstance(error, AuthenticationError) and error.missing)):
        return _("You are no longer signed in.")
    if isinstance(error, CSRFError):
        return _("This form was opened before you signed in. Check it, then send it again.")
    if isinstance(error, AuthenticationError):
        return _("Token not recognised: %(problem)s.", problem=formatting.message(error))
    if isinstance(error, DatasetDeleted) and may_read(error.dataset_id):  # type: ignore[arg-type]
        deletion = error.revision
        return _deleted(str(error.dataset_id), deletion.author.name, deletion.created, deletion.message)
    if isinstance(error, BundleDeleted):
        return _deleted(error.name, error.snapshot.user, error.snapshot.created, error.snapshot.comment)
    if isinstance(error, HTTPException):
        return formatting.sentence(error.description or _("Invalid request"))
    if isinstance(error, MetastoreError):
        return formatting.sentence(formatting.message(error))
    return _("Something went wrong. The log of the service has the reason.")


def _deleted(subject: str, who: str, when: Any, why: str) -> str:
    reason = f": {why.splitlines()[0]}" if why.strip() else ""
    return _(
        "%(user)s deleted %(name)s on %(day)s at %(time)s UTC%(reason)s.",
        user=who,
        name=subject,
        day=f"{when:%Y-%m-%d}",
        time=f"{when:%H:%M}",
        reason=reason,
    )


def shown(text: str) -> str:
    """Return a text of a form as it is shown again; empty if that would take too much memory."""
    return text if size_of(text) <= _LARGEST_SHOWN else ""


def _typed() -> list[tuple[str, str]]:
    """Return the fields of the form as they were sent, and the text of each file."""
    fields = [(name, shown(value)) for name, value in request.form.items(multi=True) if name not in _OF_THE_PAGE]
    return fields + [("text", text) for text in map(text_of, request.files.values()) if text]


def text_of(file: Any) -> str:
    """Return the text of an uploaded file; empty if it is not UTF-8."""
    file.seek(0)
    try:
        return str(file.read().decode("utf-8-sig"))
    except UnicodeDecodeError:
        return ""
