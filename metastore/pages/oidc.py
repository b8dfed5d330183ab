"""Signs users in at an OpenID Connect provider (the extra [oidc]): the code flow with PKCE, through Authlib.

Authlib sends requests without a limit of time, reads any body, and follows redirects. So ours go through `Connection`.
"""

from __future__ import annotations

import io
import logging
from functools import cache
from http import HTTPStatus
from typing import Any

from flask import Blueprint, Flask, redirect, request, session, url_for
from werkzeug.wrappers import Response

from metastore.errors import AuthenticationError, MetastoreError, StorageUnavailable, needs_extra
from metastore.http.connection import Connection
from metastore.http.responses import NotSent, ResponseLost
from metastore.pages.languages import gettext as _
from metastore.pages.session import here, remember
from metastore.service.context import address, service
from metastore.service.guard import named
from metastore.settings import ServiceSettings

oidc = Blueprint("oidc", __name__)
_NAME = "metastore.oidc"
_PATIENCE = 5  # seconds
_LARGEST = 262_144
#: The fields of the provider's description that are used. Authlib would take others, as `hooks`, for its own options.
_FIELDS = frozenset(
    ("issuer", "authorization_endpoint", "token_endpoint", "jwks_uri", "jwks", "id_token_signing_alg_values_supported")
)
_log = logging.getLogger("metastore.session")


def install(app: Flask, settings: ServiceSettings) -> None:
    """Add the provider that the settings name to an application.

    Raises:
        InvalidInput: Authlib is not installed.
    """
    with needs_extra("oidc"):
        from authlib.integrations.flask_client import OAuth

        client_class = _client_class()
    issuer = (settings.oidc_issuer or "").rstrip("/")
    app.extensions[_NAME] = OAuth(app).register(
        "provider",
        client_cls=client_class,
        server_metadata_url=f"{issuer}/.well-known/openid-configuration",
        client_id=settings.oidc_client_id,
        client_secret=settings.oidc_client_secret,
        client_kwargs={"scope": "openid profile email", "code_challenge_method": "S256"},
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

        if isinstance(error, (AuthlibBaseError, JoseError)):
            raise AuthenticationError(
                _("signing in failed: %(problem)s", problem=getattr(error, "error", None) or error)
            ) from None
        if isinstance(error, Exception):  # Authlib relies on the types of what the provider sends
            _log.warning("the sign-in provider cannot be used: %s", error if _is_plain(error) else type(error).__name__)
            raise StorageUnavailable(_("the sign-in provider gave no usable answer")) from None


def _is_plain(error: Exception) -> bool:
    """Tell whether the text of an error is safe to log: others may quote what was sent."""
    return isinstance(error, (MetastoreError, NotSent, ResponseLost))


@cache
def _client_class() -> Any:
    """Return Authlib's client, with requests that are bounded."""
    from authlib.integrations.flask_client import FlaskOAuth2App
    from authlib.integrations.requests_client import OAuth2Session
    from requests import Response as Answer
    from requests.adapters import BaseAdapter

    class Bounded(BaseAdapter):
        def __init__(self, connection: Connection) -> None:
            super().__init__()
            self._connection = connection

        def send(self, request: Any, *_options: Any, **_others: Any) -> Answer:
            answer = Answer()
            answer.request, answer.url = request, request.url
            answer.status_code, content = _object(self._connection, request)
            answer.raw = io.BytesIO(content)
            return answer

        def close(self) -> None:
            self._connection.close()

    class Session(OAuth2Session):  # type: ignore[misc]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self.trust_env = False  # or a password in ~/.netrc would be sent
            for scheme in ("http://", "https://"):
                self.mount(scheme, Bounded(_connection(scheme)))

    class Client(FlaskOAuth2App):  # type: ignore[misc]
        client_cls = Session

        def load_server_metadata(self) -> dict[str, Any]:
            found: dict[str, Any] = super().load_server_metadata()
            for name in found.keys() - _FIELDS - {"_loaded_at"}:
                found.pop(name, None)
            return found

    return Client


def _connection(base: str) -> Connection:
    return Connection(base, extra="oidc", timeout=(_PATIENCE, _PATIENCE), seconds=_PATIENCE, longest=_LARGEST)


def _object(connection: Connection, request: Any) -> tuple[int, bytes]:
    """Send a request of requests; return the status, and a body that is a JSON object.

    Raises `NotSent`, `ResponseLost` or StorageUnavailable, also for a redirect, which could take the secret elsewhere.
    """
    headers = {name: value for name, value in request.headers.items() if name.lower() != "accept-encoding"}
    body = request.body.encode() if isinstance(request.body, str) else request.body
    response = connection.send(request.method, request.url, headers=headers, content=body)
    if HTTPStatus.MULTIPLE_CHOICES <= response.status < HTTPStatus.BAD_REQUEST:
        raise StorageUnavailable(f"{response.address} answered {response.status}, which leads elsewhere")
    response.fields("object")
    return response.status, response.content
