"""Opens a storage from `github://owner` and options. Tokens of an App are requested, and renewed before they expire."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from metastore.errors import InvalidInput
from metastore.forks import ForkSafeLock
from metastore.http.client import LONGEST, Host
from metastore.http.credentials import Credentials, Token, is_loopback
from metastore.parse import split_url
from metastore.storage.github._api import HEADERS
from metastore.storage.github._graphql import GitHubHost
from metastore.storage.github.storage import GitHubStorage

#: A token of an App is renewed when it is valid for less than this, in seconds; they are valid for an hour.
_EARLY = 300.0
#: GitHub's longest life of an App's own signature is ten minutes; clocks may differ by a minute.
_SIGNED_FOR, _SKEW = 540, 60


def open_github(
    url: str,
    *,
    token: str | None = None,
    app_id: str | int | None = None,
    private_key: str | None = None,
    installation: str | int | None = None,
    api_url: str | None = None,
    timeout: float = 30.0,
    patience: float = 90.0,
    longest: int = LONGEST,
    **options: Any,
) -> GitHubStorage:
    """Open the datasets of an account or organisation.

    Args:
        url: `github://owner`, or `github://host/owner` for an Enterprise server.
        token: A fine-grained or classic personal access token.
        app_id: Instead of a token, a GitHub App: its id or client id.
        private_key: The App's private key, as PEM.
        installation: The number of the App's installation for the owner.
        api_url: The address of the REST API, if it is not one of the usual ones.
        timeout: The longest wait for GitHub to send something, in seconds.
        patience: The longest time that a call may wait while GitHub limits the rate, in seconds.
        longest: The longest response that is read, in bytes.
        **options: See `GitHubStorage`.

    Raises:
        InvalidInput: The URL or an option is invalid.
    """
    server, owner = _parsed(url)
    base = api_url or _api_of(server)
    if token:
        credentials: Credentials = Token(token)
    elif app_id and private_key and installation:
        credentials = AppToken(base, str(app_id), private_key, str(installation))
    else:
        raise InvalidInput(
            "GitHub needs a token: give it as an option, or as METASTORE_GITHUB_TOKEN. Or give an App's app_id, "
            "private_key and installation"
        )
    host = GitHubHost(base, credentials, headers=HEADERS, timeout=timeout, patience=patience, longest=longest)
    return GitHubStorage(host, owner, **options)


def _parsed(url: str) -> tuple[str, str]:
    parts = split_url(url)
    path = parts.path.strip("/")
    if "@" in parts.netloc:
        raise InvalidInput("a token is not part of a URL: give it as an option, or as METASTORE_GITHUB_TOKEN")
    if not parts.netloc or "/" in path or parts.query or parts.fragment:
        raise InvalidInput("GitHub is named as github://owner, or github://host/owner for an Enterprise server")
    return (parts.netloc, path) if path else ("", parts.netloc)


def _api_of(server: str) -> str:
    """Return the address of the REST API of github.com, ghe.com, or an Enterprise server."""
    if server.lower() in ("", "github.com", "api.github.com"):
        return "https://api.github.com"
    if server.lower().endswith(".ghe.com"):
        return f"https://api.{server}"
    return f"{'http' if is_loopback(f'http://{server}') else 'https'}://{server}/api/v3"


class AppToken:
    """The credentials of an App that is installed for an account: a token for an hour, requested on use.

    Args:
        base: The API's address.
        app_id: The App's id or client id.
        private_key: Its private key, as PEM.
        installation: The number of the installation.
        clock: Returns the time, in seconds since 1970.
    """

    def __init__(
        self, base: str, app_id: str, private_key: str, installation: str, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._signer = _Signer(app_id, private_key, clock)
        self._signer.headers()  # fails now if the key is invalid
        self._host = Host(base, self._signer, headers=HEADERS)
        self._path = (
            f"/app/installations/{int(installation) if installation.isdecimal() else _no_number()}/access_tokens"
        )
        self._clock = clock
        self._mutex = ForkSafeLock()
        self._token: Token | None = None
        self._until = 0.0

    def __repr__(self) -> str:
        return "AppToken(…)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("an App's key is not to be pickled")

    def headers(self) -> Mapping[str, str]:
        """Return the header, with a token that remains valid for some minutes."""
        with self._mutex:
            if self._token is None or self._clock() > self._until - _EARLY:
                try:
                    minted = self._host.call("POST", self._path, repeatable=True).fields("installation token")
                finally:
                    self._host.close()  # not used again for an hour
                self._until = minted.moment("expires_at").timestamp()
                self._token = Token(minted.text("token"))
            return self._token.headers()

    def renew(self) -> bool:
        """Discard a refused token, which may have been revoked."""
        with self._mutex:
            self._token = None
        return True


class _Signer:
    """An App's own credentials: a token that it signs with its key (RFC 7519, RS256), used only to request tokens."""

    def __init__(self, app_id: str, private_key: str, clock: Callable[[], float]) -> None:
        self._app_id = app_id
        self._key = private_key
        self._clock = clock

    def headers(self) -> Mapping[str, str]:
        import jwt

        now = int(self._clock())
        claims = {"iat": now - _SKEW, "exp": now + _SIGNED_FOR, "iss": self._app_id}
        try:
            signed = jwt.encode(claims, self._key, algorithm="RS256")
        except (ValueError, TypeError, jwt.exceptions.PyJWTError):
            raise InvalidInput("private_key is not the private key of a GitHub App, as PEM") from None
        return {"Authorization": f"Bearer {signed}"}

    def renew(self) -> bool:
        return False


def _no_number() -> NoReturn:
    raise InvalidInput("installation is a number, as in the address of the App's installation")
