"""Who is signed in to the pages: by a token, at a provider (see `oidc`), or at the proxy in front."""

from __future__ import annotations

import secrets
import sqlite3
import time
from urllib.parse import urlsplit

from flask import Blueprint, Flask, Request, current_app, flash, g, redirect, render_template, request, session, url_for
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface
from werkzeug.wrappers import Response

from metastore.auth.access import ANONYMOUS, BundleGrant, Identity, Scope
from metastore.errors import AuthenticationError
from metastore.index_file import IndexFile, transaction
from metastore.service.context import service
from metastore.service.guard import named

sign_in = Blueprint("session", __name__)
#: For how long somebody stays signed in at most, in seconds; with a token, no longer than it counts.
LASTS = 8 * 60 * 60


#: The longest cookie that every browser keeps (RFC 6265, section 6.1), less its name and attributes.
_LONGEST = 4096 - 200
_ENDED = "metastore.ended"


class EndedSessions:
    """The sessions that were ended by their users, until they would have ended anyway; a cookie can be copied.

    Args:
        path: An SQLite file that all processes of the service share; None to keep them in memory.
    """

    def __init__(self, path: str | None) -> None:
        self._file = IndexFile(path, "CREATE TABLE ended (id TEXT PRIMARY KEY, until INTEGER NOT NULL)", 1)

    def add(self, session_id: str, until: int) -> None:
        """End a session, and forget those that are over."""

        def change(database: sqlite3.Connection) -> None:
            with transaction(database):
                database.execute("DELETE FROM ended WHERE until < ?", (int(time.time()),))
                database.execute("INSERT OR REPLACE INTO ended VALUES (?, ?)", (session_id, until))

        self._file.ask(change)

    def __contains__(self, session_id: str) -> bool:
        query = "SELECT 1 FROM ended WHERE id = ?"
        return self._file.ask(lambda database: database.execute(query, (session_id,)).fetchone()) is not None


def install(app: Flask, ended_sessions: str | None) -> None:
    """Let an application keep sessions; those that have ended are noted in a file."""
    app.session_interface = Cookies()
    app.extensions[_ENDED] = EndedSessions(ended_sessions)


class Cookies(SecureCookieSessionInterface):
    """Sessions in signed cookies; over HTTPS they never go over anything else."""

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        """Begin an empty session where there is no cookie: making what checks cookies takes longer than all else."""
        if "Cookie" not in request.headers:
            return self.session_class()
        return super().open_session(app, request)

    def get_cookie_secure(self, app: Flask) -> bool:
        """Tell whether the cookie is for HTTPS alone: it is where the service's public address is."""
        return request.is_secure or (service().settings.public_url or "").startswith("https://")


def identity() -> Identity:
    """Return who looks at a page: whom the proxy names, else who is signed in, else nobody."""
    user = _remote_user()
    if user is not None:
        return service().verifier.person({service().settings.user_claim: user})
    said = session.get("who")
    if not isinstance(said, dict) or said.get("until", 0) < time.time() or said["id"] in current_app.extensions[_ENDED]:
        return ANONYMOUS
    scopes = tuple(Scope(owner, name, frozenset(actions)) for owner, name, actions in said["scopes"])
    groups, any_group = said["bundles"]
    return Identity(said["user"], said["name"], said["email"], scopes, BundleGrant(frozenset(groups), any_group))


def _remote_user() -> str | None:
    """Return whom a proxy names that may do so; anybody else can send such a header as well, and is not believed."""
    settings = service().settings
    # Before ProxyFix, if there is one: its address comes from a header.
    original = request.environ.get("werkzeug.proxy_fix.orig", request.environ)
    if (original.get("REMOTE_ADDR") or "unix") not in settings.remote_user_from:
        return None
    return request.environ.get("REMOTE_USER") or request.headers.get(settings.remote_user_header) or None


def stays() -> bool:
    """Tell whether there is a session to end: who was signed in by the proxy signs out there."""
    return "who" in session and _remote_user() is None


def remember(who: Identity) -> None:
    """Sign somebody in: the cookie holds who they are and what they were granted, signed, and no token.

    Raises:
        AuthenticationError: Browsers would not keep a cookie with so many scopes.
    """
    now = time.time()
    scopes = [(scope.owner, scope.name, sorted(scope.actions)) for scope in who.scopes]
    before = session.get("who")
    # A form that the same user has open still counts; of anybody else's session nothing is kept.
    of_forms = session.get("csrf_token") if isinstance(before, dict) and before.get("user") == who.user else None
    session.clear()
    if of_forms is not None:
        session["csrf_token"] = of_forms
    session["who"] = {
        "id": secrets.token_hex(16),
        "user": who.user,
        "name": who.name,
        "email": who.email,
        "scopes": scopes,
        "bundles": (sorted(who.bundles.groups), who.bundles.any_group),
        "until": int(min(now + LASTS, who.expires or now + LASTS)),
    }
    serializer = current_app.session_interface.get_signing_serializer(current_app)  # type: ignore[attr-defined]
    if serializer is not None and len(serializer.dumps(dict(session))) > _LONGEST:
        session.clear()
        raise AuthenticationError("the token has too many scopes for a cookie: sign in with one that has fewer")


def sign_in_on_the_form(field: str) -> None:
    """Sign in whoever sends a token with the form that they were about to send; the rest of it goes on as usual.

    Raises:
        AuthenticationError: The token does not count.
    """
    token = request.form.get(field, "").strip() if request.method == "POST" else ""
    if token:
        g.identity = named(service().verifier.identify(token))
        remember(g.identity)


def here(given: str | None) -> str:
    """Return a path of these pages to go on to, whatever is asked for: never another site."""
    home = url_for("pages.home.index")
    if not given or not given.startswith("/") or given.startswith("//") or "\\" in given or not given.isprintable():
        return home
    parts = urlsplit(given)
    return home if parts.scheme or parts.netloc else given


@sign_in.get("/sign-in")
def form() -> str:
    """Ask for a token, or for where else one signs in."""
    return _form(request.args.get("next", ""))


def _form(onward: str, problem: AuthenticationError | None = None) -> str:
    provider = service().settings.oidc_issuer
    return render_template("sign_in.html", onward=onward, problem=problem, provider=provider)


@sign_in.post("/sign-in")
def check() -> tuple[str, int] | Response:
    """Sign in with a token, pasted or sent by a portal."""
    onward = request.form.get("next", "")
    try:
        who = named(service().verifier.identify(request.form.get("token", "").strip()))
    except AuthenticationError as error:
        return _form(onward, error), 401
    remember(who)
    return redirect(here(onward), 303)


@sign_in.post("/sign-out")
def leave() -> Response:
    """Sign out."""
    said = session.get("who")
    if isinstance(said, dict):
        current_app.extensions[_ENDED].add(said["id"], said["until"])
    session.clear()
    flash("You are signed out.")
    return redirect(url_for("pages.home.index"), 303)
