"""Signs users in to the pages: with a token, at a provider (see `oidc`), or through a proxy in front."""

from __future__ import annotations

import logging
import secrets
import sqlite3
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from flask import Blueprint, Flask, Request, current_app, flash, g, redirect, render_template, request, session, url_for
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface
from werkzeug.wrappers import Response

from metastore.auth.access import ANONYMOUS, BundleGrant, Identity, Scope
from metastore.errors import AuthenticationError, StorageUnavailable
from metastore.index_file import IndexFile, transaction
from metastore.pages.languages import ONLY_DRAW
from metastore.pages.languages import gettext as _
from metastore.service.context import service
from metastore.service.guard import know, named

sign_in = Blueprint("session", __name__)
#: The longest time that a user stays signed in, in seconds. A token that expires sooner ends the session.
LASTS = 8 * 60 * 60
#: The longest cookie that every browser keeps (RFC 6265, section 6.1), less its name and attributes.
_LONGEST = 4096 - 200
_ENDED = "metastore.ended"
_log = logging.getLogger("metastore.session")
_Answer = TypeVar("_Answer")


#: The list has a name of its own, so that a list that was made again is another one.
_SCHEMA = """
CREATE TABLE ended (id TEXT PRIMARY KEY, until INTEGER NOT NULL);
CREATE TABLE list (name TEXT NOT NULL);
INSERT INTO list VALUES (lower(hex(randomblob(16))))
"""
_FORMAT = 2


class EndedSessions:
    """The sessions that users have ended, kept until they would expire, since a cookie can be copied.

    A session is open only by the list that it began with. If that is damaged or lost, another list takes its place, and
    all users have to sign in again. While the file cannot be used, no session is open.

    Args:
        path: An SQLite file that all processes of the service share; None to keep the sessions in memory.
    """

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._version: tuple[int, int] | None = None
        self._file = IndexFile(path, _SCHEMA, _FORMAT, self._opened)

    @property
    def name(self) -> str:
        """The name of the list, for a session that begins; empty in memory, where each process has a list.

        Raises:
            StorageUnavailable: The file cannot be used.
        """
        if self._path is None:
            return ""
        name: str = self._ask(lambda database: database.execute("SELECT name FROM list").fetchone()[0])
        return name

    def add(self, session_id: str, until: int) -> None:
        """End a session, and forget those that have expired. Raises StorageUnavailable."""

        def change(database: sqlite3.Connection) -> None:
            with transaction(database):
                database.execute("DELETE FROM ended WHERE until < ?", (int(time.time()),))
                database.execute("INSERT OR REPLACE INTO ended VALUES (?, ?)", (session_id, until))

        self._ask(change)

    def is_open(self, session_id: str, name: str) -> bool:
        """Tell whether a session began with this list and has not ended. Raises StorageUnavailable."""
        query = "SELECT EXISTS (SELECT 1 FROM ended WHERE id = ?) FROM list WHERE ? IN (name, '')"
        row = self._ask(lambda database: database.execute(query, (session_id, name)).fetchone())
        return (name == "") == (self._path is None) and row is not None and not row[0]

    def _ask(self, question: Callable[[sqlite3.Connection], _Answer]) -> _Answer:
        if self._path is not None and self._version not in (None, _version(self._path)):
            self._file.close()  # another process found damage, and made the file again
        answer = self._file.ask(question)
        if self._file.path != self._path:
            raise StorageUnavailable("the list of ended sessions cannot be used, so nobody is signed in")
        return answer

    def _opened(self, database: sqlite3.Connection) -> None:
        if self._path is None:
            return
        self._version = _version(self._path)
        if database.execute("PRAGMA quick_check").fetchone()[0] != "ok":
            raise sqlite3.DatabaseError("its pages contradict each other")
        database.execute("PRAGMA synchronous = FULL")  # no session that has ended comes back after a power cut


def _version(path: str) -> tuple[int, int]:
    """Return what tells the file from one that was made again in its place."""
    try:
        status = Path(path).stat()
    except OSError:
        return (0, 0)
    return status.st_dev, status.st_ino


def install(app: Flask, ended_sessions: str | None) -> None:
    """Add sessions to an application, with a file for those that users have ended."""
    app.session_interface = Cookies()
    app.extensions[_ENDED] = EndedSessions(ended_sessions)


class Cookies(SecureCookieSessionInterface):
    """Sessions in signed cookies. A cookie that was set over HTTPS is sent over HTTPS only."""

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        """Begin an empty session if there is no cookie: making a serializer would take longer than all the rest."""
        if "Cookie" not in request.headers:
            return self.session_class()
        return super().open_session(app, request)

    def get_cookie_secure(self, app: Flask) -> bool:
        """Tell whether the cookie is for HTTPS only: it is if the service's public address is."""
        return request.is_secure or (service().settings.public_url or "").startswith("https://")


def identity() -> Identity:
    """Return the caller: the user that the proxy names, else the one who is signed in, else `ANONYMOUS`."""
    user = _remote_user()
    if user is not None:
        return service().verifier.person({service().settings.user_claim: user})
    who = session.get("who")
    if not isinstance(who, dict) or _is_over(who):
        return ANONYMOUS
    scopes = tuple(Scope(owner, name, frozenset(actions)) for owner, name, actions in who["scopes"])
    groups, any_group = who["bundles"]
    return Identity(who["user"], who["name"], who["email"], scopes, BundleGrant(frozenset(groups), any_group))


def _is_over(who: dict[str, Any]) -> bool:
    """Tell whether a session has ended: by time, by its user, or with the key that signed its token."""
    ended: EndedSessions = current_app.extensions[_ENDED]
    try:
        if who.get("until", 0) < time.time() or "list" not in who or not ended.is_open(who["id"], who["list"]):
            return True
    except StorageUnavailable as error:
        _log.error("%s", error)
        return True
    key = who.get("key")
    return key is not None and not service().verifier.accepts(key)


def _remote_user() -> str | None:
    """Return the user that a trusted proxy names. From any other address, such a header is ignored."""
    settings = service().settings
    # The address before ProxyFix, which takes its own from a header.
    original = request.environ.get("werkzeug.proxy_fix.orig", request.environ)
    if (original.get("REMOTE_ADDR") or "unix") not in settings.remote_user_from:
        return None
    return request.environ.get("REMOTE_USER") or request.headers.get(settings.remote_user_header) or None


def stays() -> bool:
    """Tell whether the caller has a session to end. A user of the proxy signs out there."""
    return "who" in session and _remote_user() is None


def remember(who: Identity) -> None:
    """Sign a user in, for this request too. The signed cookie holds their identity and scopes, but no token.

    A session that this one replaces ends.

    Raises:
        AuthenticationError: There are too many scopes for a cookie.
        StorageUnavailable: The list of ended sessions cannot be used.
    """
    now = time.time()
    scopes = [(scope.owner, scope.name, sorted(scope.actions)) for scope in who.scopes]
    before = session.get("who")
    _end()
    # Forms that the same user has open stay valid. Nothing of another user's session is kept.
    csrf_token = session.get("csrf_token") if isinstance(before, dict) and before.get("user") == who.user else None
    session.clear()
    if csrf_token is not None:
        session["csrf_token"] = csrf_token
    session["who"] = {
        "id": secrets.token_hex(16),
        "list": current_app.extensions[_ENDED].name,
        "user": who.user,
        "name": who.name,
        "email": who.email,
        "scopes": scopes,
        "bundles": (sorted(who.bundles.groups), who.bundles.any_group),
        "until": int(min(now + LASTS, who.expires or now + LASTS)),
        "key": who.key,
    }
    serializer = current_app.session_interface.get_signing_serializer(current_app)  # type: ignore[attr-defined]
    if serializer is not None and len(serializer.dumps(dict(session))) > _LONGEST:
        session.clear()
        raise AuthenticationError(_("the token has too many scopes for a cookie: sign in with one that has fewer"))
    know(who)


def _end() -> None:
    """End the session of this request, if there is one: its cookie may have been copied. Raises StorageUnavailable."""
    who = session.get("who")
    if isinstance(who, dict):
        current_app.extensions[_ENDED].add(who["id"], who["until"])


def sign_in_on_the_form(field: str) -> None:
    """Sign in a user who sends a token with a form. The form itself is then handled as usual.

    Raises:
        AuthenticationError: The token is refused.
    """
    token = request.form.get(field, "").strip() if request.method == "POST" else ""
    if token:
        remember(named(service().verifier.identify(token)))


def here(onward: str | None) -> str:
    """Return the path to continue at, or that of the home page if it would lead to another site."""
    home = url_for("pages.home.index")
    if not onward or not onward.startswith("/") or onward.startswith("//"):
        return home
    if "\\" in onward or not onward.isprintable():
        return home
    parts = urlsplit(onward)
    return home if parts.scheme or parts.netloc else onward


@sign_in.get("/sign-in")
def form() -> str:
    """Show the form for a token, or for the provider."""
    return _form(request.args.get("next", ""))


def _form(onward: str, problem: AuthenticationError | None = None) -> str:
    provider = service().settings.oidc_issuer
    return render_template("sign_in.html", onward=onward, problem=problem, provider=provider)


@sign_in.post("/sign-in")
def check() -> tuple[str, int] | Response:
    """Sign in with a token, which a user pasted or a portal sent."""
    onward = request.form.get("next", "")
    if request.form.get(ONLY_DRAW):
        return _form(onward), 200
    try:
        who = named(service().verifier.identify(request.form.get("token", "").strip()))
    except AuthenticationError as error:
        return _form(onward, error), 401
    remember(who)
    return redirect(here(onward), 303)


@sign_in.get("/session")
def show() -> str:
    """Show the permissions of the session. Raises AuthenticationError: nobody is signed in."""
    who: Identity = g.identity
    if who.anonymous:
        raise AuthenticationError(_("sign in first"), missing=True)
    scopes = [
        {"of": f"{scope.owner or '*'}/{scope.name or '*'}", "actions": ", ".join(sorted(scope.actions))}
        for scope in who.scopes
    ]
    registry = service().bundles
    bundles = None if registry is None else registry.groups.limited_to(who.bundles).of(who.user)
    until = datetime.fromtimestamp(session["who"]["until"], UTC) if stays() else None
    return render_template("session.html", scopes=scopes, bundles=bundles, until=until)


@sign_in.post("/sign-out")
def leave() -> Response:
    """Sign out."""
    _end()
    session.clear()
    flash(_("You are signed out."))
    return redirect(url_for("pages.home.index"), 303)
