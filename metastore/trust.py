"""The trust of a service, by its settings: the keys that it accepts, the key of its sessions, and its open parts."""

from __future__ import annotations

import hashlib
import hmac
import os
import shlex
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from metastore.errors import InvalidInput
from metastore.settings import ServiceSettings, Settings

if TYPE_CHECKING:
    from metastore.auth.key_sources import KeySource
    from metastore.auth.tokens import Verifier


def verifier(settings: Settings) -> Verifier:
    """Return what checks tokens: with the keys that the settings name, or with the service's own key if they name none.

    No key is fetched yet. The service's own key is made if it does not exist.

    Raises:
        InvalidInput: A key cannot be used; the message names the setting.
        StorageUnavailable: The service's own key cannot be read or made.
    """
    from metastore.auth.tokens import Verifier

    service = settings.service
    sources = tuple(_key_sources(settings))
    with _naming("claims"):
        return Verifier(
            sources,
            issuer=service.jwt_issuer,
            audience=service.jwt_audience,
            user_claim=service.user_claim,
            mapping=service.claims,
            default_owner=service.default_owner,
        )


def openness(settings: Settings) -> str:
    """Return one line that says who may read and change what through a service with these settings."""
    service = settings.service
    readable = "datasets and bundles" if service.public_read else "bundles, but not datasets,"
    issuers = ["this service"] if has_own_key(settings) else []
    if _others_issue(service):
        issuers.append(service.jwt_issuer or "the holders of the keys in the settings")
    editors = f"Members of the groups in {settings.groups_file}" if settings.groups_file else "Nobody"
    line = f"Anyone may read {readable} without a token. Tokens come from {' and '.join(issuers)}. "
    line += f"{editors} may change bundles."
    if service.remote_user_from:
        line += f" {', '.join(service.remote_user_from)} may name the user of a page."
    return line


def said_at_start(settings: Settings) -> tuple[str, ...]:
    """Return the lines that a service begins with: what is open to whom, and a warning of keys that were copied."""
    warning = copied_keys(_private_keys(settings))
    return (openness(settings), *([warning] if warning else ()))


def copied_keys(paths: Iterable[str | None]) -> str | None:
    """Return a warning of those keys among some files that somebody may have sent with a store; None if there are none.

    The sender of a key can sign tokens and sessions that the service accepts.
    """
    from metastore.auth.own_key import seems_copied

    copied = [shlex.quote(path) for path in paths if path is not None and seems_copied(path)]
    if not copied:
        return None
    named = " and ".join(copied)
    return (
        f"{named}: copied, or changed hands. If somebody sent you the store, they can sign in as anybody. Remove the"
        f" keys, and the service makes new ones. If they are your own, run: touch {' '.join(copied)}"
    )


def _private_keys(settings: Settings) -> tuple[str, ...]:
    """Return the paths of the keys that the service finds beside its store, whether or not they exist."""
    paths = [session_file(settings, "key")]
    if has_own_key(settings) and not settings.service.key_file:
        paths.insert(0, _own_key_path(settings))
    return tuple(paths)


def own_secret(settings: Settings) -> str:
    """Return the key that the service signs its own tokens with, and make it if it does not exist.

    Raises:
        InvalidInput: Others issue the tokens of this service, so it has no key; or the key file holds something else.
        StorageUnavailable: The key file cannot be read or written.
    """
    from metastore.auth.own_key import own_key

    if _others_issue(settings.service) and not settings.service.key_file:
        raise InvalidInput(
            "others issue the tokens of this service, since METASTORE_JWT_KEY, METASTORE_JWKS_URL or "
            "METASTORE_JWT_SECRET is set: to issue some here too, name a file for the key in METASTORE_KEY_FILE"
        )
    return own_key(_own_key_path(settings))


def session_secret(settings: Settings) -> str:
    """Return the key that signs the sessions of the pages, and make it if it does not exist.

    It changes with every key that the settings name and with the service's own: users who signed in with a token of a
    former key have to sign in again.

    Raises:
        InvalidInput: Other users can read the file, or it holds something else.
        StorageUnavailable: The file cannot be read or written.
    """
    from metastore.auth.own_key import own_key

    service = settings.service
    trusted = [
        *service.jwt_secret,
        *service.jwt_key,
        *service.jwks_url,
        service.oidc_issuer,
        service.oidc_client_secret,
    ]
    if has_own_key(settings):
        trusted.append(own_secret(settings))
    # Services that share a key file share sessions too, though they share no folder.
    shared = bool(service.key_file) and not _has_folder(settings)
    secret = own_secret(settings) if shared else own_key(session_file(settings, "key"))
    return hmac.new(secret.encode(), repr(trusted).encode(), hashlib.sha256).hexdigest()


def session_file(settings: Settings, ending: str) -> str:
    """Return the path of a file about the sessions of the pages."""
    return _private_file(settings, f"session.{ending}")


def has_own_key(settings: Settings) -> bool:
    """Tell whether the service accepts tokens that `metastore token` issues."""
    return bool(settings.service.key_file) or not _others_issue(settings.service)


def _others_issue(service: ServiceSettings) -> bool:
    return bool(service.jwt_key or service.jwks_url or service.jwt_secret)


def _own_key_path(settings: Settings) -> str:
    if settings.service.key_file:
        return settings.service.key_file
    if settings.url.startswith(("http:", "https:")):
        raise InvalidInput("the store is a service on another machine, which issues the tokens for it")
    return _private_file(settings, "token.key")


def _private_file(settings: Settings, name: str) -> str:
    """Return the path of a file that only the service's user reads.

    It is in the store's folder. For a store without one, it is in a folder for this store below `Settings.states`: a
    token for one store must not count at another one.
    """
    from metastore.storage.connect import folder_name, private_file

    if _has_folder(settings) and (beside := private_file(settings.url, name)):
        return beside
    states = os.path.expanduser(settings.states)
    return os.path.join(states, "metastore", folder_name(settings.url), name)


def _has_folder(settings: Settings) -> bool:
    """Tell whether the store is a folder."""
    from metastore.storage.connect import is_service, private_file

    return not is_service(settings.url) and private_file(settings.url, "token.key") is not None


def _key_sources(settings: Settings) -> Iterator[KeySource]:
    from metastore.auth.key_sources import GivenKeys, UrlKeys
    from metastore.auth.keys import secret_key

    service = settings.service
    algorithms = service.jwt_algorithms
    with _naming("METASTORE_JWT_KEY"):
        yield from [_key_source(text, algorithms) for text in service.jwt_key]
    with _naming("METASTORE_JWKS_URL"):
        yield from [UrlKeys(url, algorithms) for url in service.jwks_url]
    with _naming("METASTORE_JWT_SECRET"):
        yield from [GivenKeys(secret_key(secret, algorithms)) for secret in service.jwt_secret]
    if has_own_key(settings):
        yield GivenKeys(secret_key(own_secret(settings)))


def _key_source(text: str, algorithms: tuple[str, ...]) -> KeySource:
    from metastore.auth.key_sources import FileKeys, GivenKeys, UrlKeys
    from metastore.auth.keys import parse_keys

    if text.lstrip().startswith(("-----BEGIN", "{")):
        return GivenKeys(*parse_keys(text, algorithms))
    if text.startswith(("http://", "https://")):
        return UrlKeys(text, algorithms)
    if not os.path.exists(text):  # the message does not quote it: it may be a secret
        raise InvalidInput(
            "this is not PEM text, a URL or an existing file. If it is a secret, set METASTORE_JWT_SECRET instead"
        )
    return FileKeys(text, algorithms)


@contextmanager
def _naming(setting: str) -> Iterator[None]:
    """Put the name of a setting in front of an error."""
    try:
        yield
    except InvalidInput as error:
        raise InvalidInput(f"{setting}: {error}") from None
