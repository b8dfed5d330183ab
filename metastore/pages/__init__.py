"""Pages for people, over the same calls as the API: rendered here, working without JavaScript.

`install` adds them to an application. Everything that they load comes from `static`.
"""

from __future__ import annotations

import logging

from flask import Blueprint, Flask, Response, g, make_response, redirect, render_template, request
from flask_wtf.csrf import CSRFError, CSRFProtect
from werkzeug.exceptions import HTTPException, NotFound, RequestEntityTooLarge
from werkzeug.wrappers import Response as AnyResponse

from metastore.errors import AuthenticationError, DatasetMoved, DatasetNotFound, MetastoreError
from metastore.pages import formatting, oidc, session
from metastore.pages.bundle_forms import bundle_forms
from metastore.pages.bundle_import import bundle_import
from metastore.pages.bundles import bundles
from metastore.pages.dataset_forms import dataset_forms
from metastore.pages.datasets import datasets
from metastore.pages.home import home
from metastore.pages.record import record
from metastore.pages.search import search
from metastore.pages.session import sign_in
from metastore.service import problems, responses
from metastore.service.context import Service
from metastore.service.guard import may_read

_log = logging.getLogger("metastore")
#: No form has more fields; how many bytes a form may have before anyone signed in.
_MOST_FIELDS, _LARGEST_OF_STRANGERS = 100, 256 * 1024
_SECURITY = {
    # Pico's icons are images within its style sheet (data:).
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


def install(app: Flask, served: Service) -> None:
    """Add the pages to an application.

    Args:
        app: With the routes of the API; no page of theirs is changed.
        served: What it serves; its `secret_key` signs the sessions of those who are signed in.

    Raises:
        InvalidInput: A provider is set up to sign in at, and its extra is not installed.
    """
    app.secret_key = served.secret_key
    app.response_class = responses.Text
    app.session_interface = session.Cookies()
    app.config.update(SESSION_COOKIE_NAME="metastore", SESSION_COOKIE_SAMESITE="Lax", SESSION_COOKIE_HTTPONLY=True)
    app.config.update(WTF_CSRF_CHECK_DEFAULT=False, WTF_CSRF_TIME_LIMIT=None)
    app.config.update(MAX_FORM_MEMORY_SIZE=app.config["MAX_CONTENT_LENGTH"])  # long lists of devices are typed, too
    protection = CSRFProtect(app)
    pages = Blueprint("pages", __name__, template_folder="templates", static_folder="static", static_url_path="/static")
    for part in (home, search, sign_in, bundles, bundle_forms, bundle_import, record, dataset_forms, datasets):
        pages.register_blueprint(part)
    if served.settings.oidc_issuer:
        oidc.install(app, served.settings)
        pages.register_blueprint(oidc.oidc)

    @pages.before_request
    def know_the_caller() -> None:
        g.identity = session.identity()
        _check_size()
        protection.protect()

    pages.after_request(_secure)
    pages.register_error_handler(MetastoreError, _of_ours)
    pages.register_error_handler(CSRFError, _of_werkzeug)
    pages.register_error_handler(HTTPException, _of_werkzeug)
    pages.register_error_handler(Exception, _of_unknown)
    pages.app_context_processor(lambda: {"formatting": formatting, "me": g.get("identity"), "stays": session.stays})
    app.register_blueprint(pages)
    app.register_error_handler(404, _nowhere)


def _check_size() -> None:
    """Refuse a form that is larger than anybody's, before anything is made of it.

    Raises:
        RequestEntityTooLarge: It has more fields than any, or is large and from nobody who is signed in.
    """
    if request.method != "POST":
        return
    content = request.get_data()
    if content.count(b"&") > _MOST_FIELDS and request.mimetype == "application/x-www-form-urlencoded":
        raise RequestEntityTooLarge("the form has too many fields")
    if g.identity.anonymous and len(content) > _LARGEST_OF_STRANGERS:
        raise RequestEntityTooLarge("sign in first: the form is too large for somebody who is not signed in")


def _of_ours(error: MetastoreError) -> tuple[str, int] | AnyResponse:
    if isinstance(error, DatasetMoved):
        if may_read(error.new_id):
            return redirect(problems.moved(error), 308)
        error = DatasetNotFound(error.dataset_id)
    if isinstance(error, AuthenticationError) and error.missing and request.method == "POST":
        # It came from a form of ours, or it would have been refused before: so it may be shown and sent again.
        typed = [(name, value) for name, value in request.form.items(multi=True) if name != "csrf_token"]
        return render_template("again.html", typed=typed), 401
    error = problems.plainly(error)
    status = problems.status_of(error)
    return render_template("error.html", error=error, status=status), status


def _of_werkzeug(error: HTTPException) -> tuple[str, int] | HTTPException:
    status = error.code or 500
    if status < 400:
        return error
    return render_template("error.html", error=error.description, status=status), status


def _of_unknown(error: Exception) -> tuple[str, int]:
    _log.exception("%s %s failed", request.method, request.path)
    return render_template("error.html", error="The service failed; its log says why.", status=500), 500


def _nowhere(error: NotFound) -> Response | HTTPException:
    """Answer people in HTML and programs in JSON where there is no page at all."""
    of_page = (request.endpoint or "pages.").startswith("pages.") and not request.path.startswith("/api/")
    if not of_page or request.accept_mimetypes.best_match((problems.PROBLEM, "text/html")) != "text/html":
        return problems.of_werkzeug(error)
    if "identity" not in g:
        g.identity = session.identity()
    return _secure(make_response(_of_werkzeug(error)))


def _secure(response: Response) -> Response:
    response.headers.update(_SECURITY)
    # Who is signed in sees another page than who is not.
    response.headers.setdefault("Cache-Control", "private, no-cache")
    return response
