"""Signing in to the pages, and who is signed in."""

from __future__ import annotations

import time
from urllib.parse import urlsplit

from flask import Blueprint, flash, redirect, render_template, request, session, url_for
from werkzeug.wrappers import Response as AnyResponse

from metastore.access import ANONYMOUS, Identity, Scope
from metastore.errors import AuthenticationError
from metastore.service.context import service
from metastore.service.guard import named

sign_in = Blueprint("session", __name__)
#: For how long somebody stays signed in, in seconds.
LASTS = 8 * 60 * 60


def identity() -> Identity:
    """Return who is signed in, or nobody."""
    said = session.get("who")
    if not isinstance(said, dict) or said.get("until", 0) < time.time():
        return ANONYMOUS
    scopes = tuple(Scope(owner, name, frozenset(actions)) for owner, name, actions in said["scopes"])
    return Identity(said["user"], said["name"], said["email"], scopes)


def remember(who: Identity) -> None:
    """Sign somebody in; the cookie holds who they are and what they were granted, signed, and no token."""
    scopes = [(scope.owner, scope.name, sorted(scope.actions)) for scope in who.scopes]
    session.clear()
    session["who"] = {
        "user": who.user,
        "name": who.name,
        "email": who.email,
        "scopes": scopes,
        "until": int(time.time()) + LASTS,
    }


def here(given: str | None) -> str:
    """Return a path of these pages to go on to, whatever is asked for: never another site."""
    parts = urlsplit(given or "")
    if not given or parts.scheme or parts.netloc or not given.startswith("/") or given.startswith(("//", "/\\")):
        return url_for("pages.home.index")
    return given


@sign_in.get("/sign-in")
def form() -> str:
    """Ask for a token."""
    return render_template("sign_in.html", onward=request.args.get("next", ""), problem=None)


@sign_in.post("/sign-in")
def check() -> tuple[str, int] | AnyResponse:
    """Sign in with a token, pasted or sent by a portal."""
    onward = request.form.get("next", "")
    try:
        who = named(service().verifier.identify(request.form.get("token", "").strip()))
    except AuthenticationError as error:
        return render_template("sign_in.html", onward=onward, problem=error), 401
    remember(who)
    return redirect(here(onward), 303)


@sign_in.post("/sign-out")
def leave() -> AnyResponse:
    """Sign out."""
    session.clear()
    flash("You are signed out.")
    return redirect(url_for("pages.home.index"), 303)
