"""Signs users in at an OpenID Connect provider (the extra [oidc]): the code flow with PKCE, through Authlib."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Flask, redirect, request, session, url_for
from werkzeug.wrappers import Response

from metastore.errors import AuthenticationError, StorageUnavailable, needs_extra
from metastore.pages.languages import gettext as _
from metastore.pages.session import here, remember
from metastore.service.context import address, service
from metastore.service.guard import named
from metastore.settings import ServiceSettings

oidc = Blueprint("oidc", __name__)
_NAME = "metastore.oidc"
_PATIENCE = 5  # seconds


def install(app: Flask, settings: ServiceSettings) -> None:
    """Add the provider that the settings name to an application.

    Raises:
        InvalidInput: Authlib is not installed.
    """
    with needs_extra("oidc"):
        from authlib.integrations.flask_client import OAuth
    issuer = (settings.oidc_issuer or "").rstrip("/")
    app.extensions[_NAME] = OAuth(app).register(
        "provider",
        server_metadata_url=f"{issuer}/.well-known/openid-configuration",
        client_id=settings.oidc_client_id,
        client_secret=settings.oidc_client_secret,
        client_kwargs={"scope": "openid profile email", "code_challenge_method": "S256", "timeout": _PATIENCE},
    )


@oidc.get("/sign-in/provider")
def begin() -> Response:
    """Redirect to the provider."""
    session["next"] = request.args.get("next", "")
    back = address(url_for("pages.oidc.end"))
    with _Provider() as provider:
        answer: Response = provider.authorize_redirect(back)
    return answer


@oidc.get("/sign-in/provider/back")
def end() -> Response:
    """Sign the user in with the claims that the provider signed.

    Raises:
        AuthenticationError: The provider refuses, or its answer is not genuine.
    """
    onward = here(session.get("next"))
    with _Provider() as provider:
        claims = provider.authorize_access_token().get("userinfo")
    if not claims:
        raise AuthenticationError(_("the provider does not say who you are"))
    remember(named(service().verifier.person(claims)))
    return redirect(onward, 303)


class _Provider:
    """The provider, with its errors as errors of the library."""

    def __enter__(self) -> Any:
        from flask import current_app

        return current_app.extensions[_NAME]

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: object) -> None:
        if error is None:
            return
        from authlib.common.errors import AuthlibBaseError
        from joserfc.errors import JoseError
        from requests import RequestException

        if isinstance(error, RequestException):
            raise StorageUnavailable(_("the sign-in provider does not respond")) from None
        if isinstance(error, (AuthlibBaseError, JoseError)):
            raise AuthenticationError(
                _("signing in failed: %(problem)s", problem=getattr(error, "error", None) or error)
            ) from None
