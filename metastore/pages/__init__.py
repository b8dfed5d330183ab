"""Pages for people, over the same calls as the API. They are rendered here, and work without JavaScript.

`install` adds them to an application. They load everything from `static`.
"""

from __future__ import annotations

import logging
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, Flask, Response, g, make_response, redirect, render_template, request, url_for
from flask_wtf.csrf import CSRFError, CSRFProtect
from werkzeug.exceptions import HTTPException, NotFound
from werkzeug.wrappers import Response as AnyResponse

from metastore.errors import DatasetMoved, DatasetNotFound, MetastoreError, NotADataset
from metastore.pages import formatting, languages, oidc, refusals, session
from metastore.pages.bundle_forms import bundle_forms
from metastore.pages.bundle_import import bundle_import
from metastore.pages.bundles import bundles
from metastore.pages.catalogue import catalogue
from metastore.pages.changelog import changelog
from metastore.pages.choosing import choosing
from metastore.pages.compare import compare
from metastore.pages.dataset_editor import dataset_editor
from metastore.pages.dataset_forms import dataset_forms
from metastore.pages.datasets import MOVED_FROM, datasets
from metastore.pages.device import device
from metastore.pages.history import history
from metastore.pages.home import home
from metastore.pages.icons import icon
from metastore.pages.languages import gettext as _
from metastore.pages.languages import later
from metastore.pages.past import past
from metastore.pages.record import record
from metastore.pages.session import sign_in
from metastore.pages.tags import tags
from metastore.service import problems, rate, responses
from metastore.service.context import Service, address, service
from metastore.service.guard import know, may_read

AnyPage = str | tuple[str, int] | AnyResponse
_log = logging.getLogger("metastore")
_OF_DATASETS = (datasets, history, compare, choosing, dataset_editor, dataset_forms, tags)
_PARTS = (
    home,
    catalogue,
    changelog,
    sign_in,
    *_OF_DATASETS,
    bundles,
    bundle_forms,
    bundle_import,
    device,
    past,
    record,
)
#: The items of the main menu, each with the pages under it.
_MENU = (
    (
        later("Datasets"),
        "catalogue.index",
        ("catalogue.", "datasets.", "history.", "compare.", "choosing.", "tags.", "dataset_"),
    ),
    (later("Bundles"), "bundles.index", ("bundles.", "bundle_", "device.", "past.", "record.of_bundle")),
    (later("Changes"), "changelog.index", ("changelog.", "record.everything")),
)
_SECURITY = {
    # The icons of Pico are images inside its style sheet (data:).
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",
}


def install(app: Flask, served: Service) -> None:
    """Add the pages to an application.

    Args:
        app: An application with the routes of the API.
        served: The objects that it serves. `secret_key` signs the sessions of users, and `ended_sessions` is the file
            that notes which ones have ended.

    Raises:
        InvalidInput: The settings name a provider to sign in at, and the extra [oidc] is not installed.
    """
    app.secret_key = served.secret_key
    app.response_class = responses.Text
    session.install(app, served.ended_sessions)
    app.config.update(SESSION_COOKIE_NAME="metastore", SESSION_COOKIE_SAMESITE="Lax", SESSION_COOKIE_HTTPONLY=True)
    app.config.update(WTF_CSRF_CHECK_DEFAULT=False, WTF_CSRF_TIME_LIMIT=None)
    app.config.update(MAX_FORM_MEMORY_SIZE=app.config["MAX_CONTENT_LENGTH"])  # long lists of devices are typed, too
    protection = CSRFProtect(app)
    pages = Blueprint("pages", __name__, template_folder="templates", static_folder="static", static_url_path="/static")
    languages.install(app, pages)
    for part in _PARTS:
        pages.register_blueprint(part)
    if served.settings.oidc_issuer:
        oidc.install(app, served.settings)
        pages.register_blueprint(oidc.oidc)

    @pages.before_request
    def know_the_caller() -> refusals.Page | None:
        know(session.identity())
        rate.enter()
        refusals.check_size()
        protection.protect()
        session.sign_in_on_the_form(refusals.SIGN_IN)
        refusals.check_signed_in()
        return refusals.only_drawn()

    pages.after_request(_secure)
    pages.register_error_handler(MetastoreError, _of_ours)
    pages.register_error_handler(CSRFError, _of_werkzeug)
    pages.register_error_handler(HTTPException, _of_werkzeug)
    pages.register_error_handler(Exception, _of_unknown)
    pages.app_context_processor(_known_to_all)
    app.register_blueprint(pages)
    app.register_error_handler(404, _nowhere)


def _known_to_all() -> dict[str, Any]:
    """Return the names that every template may use."""
    return {
        "formatting": formatting,
        "icon": icon,
        "me": g.get("identity"),
        "menu": _menu,
        "has_bundles": service().bundles is not None,
        "stays": session.stays,
        "refusal": g.get("refusal"),
        "takes_form": refusals.takes_form,
        "languages": languages,
        "view_address": _view_address,
    }


def _view_address() -> str:
    """Return the absolute address of the list that is shown, with its filters and order but not its language."""
    kept = [(key, value) for key, value in request.args.items(multi=True) if value and key != "lang"]
    return address(request.root_path + request.path) + (f"?{urlencode(kept)}" if kept else "")


def _menu() -> list[dict[str, str]]:
    """Return the items of the main menu, each with whether it is the page shown (`page`) or leads to it (`true`)."""
    here = (request.endpoint or "").removeprefix("pages.")
    return [
        {
            "label": label,
            "address": url_for(f"pages.{endpoint}"),
            "current": "page" if here == endpoint else "true" if here.startswith(views) else "",
        }
        for label, endpoint, views in _MENU
        if endpoint != "bundles.index" or service().bundles is not None
    ]


def _of_ours(error: MetastoreError) -> AnyPage:
    if isinstance(error, DatasetMoved):
        if may_read(error.new_id):
            return redirect(_moved(error), 308)
        error = DatasetNotFound(error.dataset_id)
    page = refusals.answer(error)
    if page is not None:
        return page
    error = problems.plainly(error)
    title = _("Not a dataset") if isinstance(error, NotADataset) else None
    return _error_page(formatting.message(error), problems.status_of(error), title)


def _moved(error: DatasetMoved) -> str:
    """Return the address that a moved dataset has now; its own page says which id led there."""
    there = problems.moved(error)
    if request.endpoint != "pages.datasets.show":
        return there
    return f"{there}{'&' if '?' in there else '?'}{urlencode({MOVED_FROM: str(error.dataset_id)}, safe='/')}"


def _of_werkzeug(error: HTTPException) -> AnyPage | HTTPException:
    status = error.code or 500
    if status < 400:
        return error
    expired = _("This form has expired. Open the page again, and send it from there.")
    unknown = _("There is no page at this address. Check how it is spelled.")
    words = unknown if error.description == NotFound.description else error.description or ""
    detail = expired if isinstance(error, CSRFError) else words
    return refusals.answer(error) or _error_page(detail, status)


def _of_unknown(error: Exception) -> AnyPage:
    _log.exception("%s %s failed", request.method, request.path)
    return refusals.answer(error) or _error_page(_("The log of the service has the reason."), 500)


def _error_page(detail: str, status: int, title: str | None = None) -> tuple[str, int]:
    return render_template("error.html", detail=formatting.sentence(detail), status=status, title=title), status


def _nowhere(error: NotFound) -> Response | HTTPException:
    """Answer an unknown path: people in HTML, programs in JSON."""
    of_page = (request.endpoint or "pages.").startswith("pages.") and not request.path.startswith("/api/")
    if not of_page or request.accept_mimetypes.best_match((problems.PROBLEM, "text/html")) != "text/html":
        return problems.of_werkzeug(error)
    if "identity" not in g:
        know(session.identity())
    return _secure(make_response(_of_werkzeug(error)))


def _secure(response: Response) -> Response:
    response.headers.update(_SECURITY)
    if request.endpoint != "pages.static":
        languages.tell(response)
    # A page depends on who is signed in.
    response.headers.setdefault("Cache-Control", "private, no-cache")
    return response
