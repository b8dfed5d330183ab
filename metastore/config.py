"""Settings from the environment and a file, and what is made of them; the only module that reads the environment.

| variable | means | otherwise |
|---|---|---|
| `METASTORE_CONFIG` | a file of settings, in TOML | none |
| `METASTORE_STORE` | the store | `./metastore-data` |
| `METASTORE_TOKEN` | who calls, where the store is a service | nobody: reading alone |
| `METASTORE_AUTHOR` | who writes, as `Name <email>` | Git's own configuration |
| `METASTORE_LFS_URL` | a Git LFS server, with `{owner}` and `{name}` in it | no files for Git LFS |
| `METASTORE_VALIDATION` | `off`, `warn` or `strict` | `warn` |
| `METASTORE_VERSION_RULE` | `off`, `warn` or `refuse`: a `version` that claims less than a write changes | `off` |
| `METASTORE_GRADES` | a JSON file with the rules that grade differences | those of MetaStore |
| `METASTORE_MAX_BYTES` | the largest descriptor, in bytes | 33554432 (32 MiB) |
| `METASTORE_GITHUB_TOKEN` | a token for a store on GitHub | no access |
| `METASTORE_GITLAB_TOKEN` | a token for a store on GitLab | no access |
| `METASTORE_GIT_TOKEN` | a token for a store on a plain Git server | public repositories alone |
| `METASTORE_BUNDLES_URL` | where bundles are kept | in the store |
| `METASTORE_GROUPS_FILE` | who may change which bundles | bundles can only be read |
| `METASTORE_MIRROR_TOKEN` | the password at the remote of `metastore mirror` | Git's credential helpers |
| `METASTORE_MIRROR_USER` | the user name that goes with it | `oauth2`, which GitHub and GitLab take |
| `METASTORE_USER` | who changes bundles on the command line | the login name |
| `METASTORE_PUBLIC_READ` | whether datasets can be read without a token; bundles always can | `on` |
| `METASTORE_REQUIRE_IF_MATCH` | whether a write has to say which revision it was made for | `off` |
| `METASTORE_CORS_ORIGINS` | origins whose pages may call the service | none |
| `METASTORE_DEFAULT_OWNER` | whose dataset an id without owner is, in a scope | nobody's |
| `METASTORE_JWT_KEY` | public keys of whoever issues tokens: PEM text, files, URLs | the service's own key |
| `METASTORE_JWKS_URL` | URLs of key sets | none |
| `METASTORE_JWT_SECRET` | secrets shared with whoever issues tokens | none |
| `METASTORE_JWT_ALGORITHMS` | what tokens may be signed with | what the keys fit |
| `METASTORE_JWT_ISSUER` | what `iss` has to be | anything |
| `METASTORE_JWT_AUDIENCE` | what `aud` has to be or contain | anything |
| `METASTORE_USER_CLAIM` | the claim that names the user | `sub` |
| `METASTORE_KEY_FILE` | where the service's own key is | beside the store |
| `METASTORE_REMOTE_USER_FROM` | proxies that say who looks at a page; `unix` for a socket | none |
| `METASTORE_REMOTE_USER_HEADER` | the header in which they say it | `Remote-User` |
| `METASTORE_OIDC_ISSUER` | the OpenID Connect provider at which people sign in to the pages | none |
| `METASTORE_OIDC_CLIENT_ID` | what the service is called there | none |
| `METASTORE_OIDC_CLIENT_SECRET` | how it proves that | none |
| `METASTORE_PUBLIC_URL` | the service's address as its users know it | what each request was sent to |
| `METASTORE_CLONE_URL` | where datasets can be cloned from, with `{owner}` and `{name}` in it | none |
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import hmac
import logging
import os
import pwd
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from metastore.errors import InvalidInput
from metastore.settings import FORMER_NAMES, NAMES, OPEN_WHEN_UNSET, ServiceSettings, Settings, make

if TYPE_CHECKING:
    from metastore.auth.key_sources import KeySource
    from metastore.auth.tokens import Verifier
    from metastore.bundle.registry import BundleRegistry
    from metastore.store.base import Store

__all__ = ["ServiceSettings", "Settings", "load", "open_bundles", "open_store", "openness", "own_secret", "verifier"]
_PREFIX = "METASTORE_"
#: How alike two names are, of 1, for one to be a misspelling of the other; people have variables of their own as well.
_ALIKE = 0.9
#: Prometheus' own name, and read by its library.
_METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
_log = logging.getLogger("metastore.config")


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings: the environment goes before the file that `METASTORE_CONFIG` names.

    A variable whose name is nearly a setting's is named in a warning, once in a process.

    Args:
        environ: Read these variables; otherwise the process's.
        url: The store, where it is named otherwise.

    Raises:
        InvalidInput: One of them makes no sense; the message names it.
    """
    environ = os.environ if environ is None else environ
    variables = {name: f"{_PREFIX}{name.upper()}" for name in NAMES if name != "claims"}
    known = {*variables.values(), f"{_PREFIX}CONFIG", *(f"{_PREFIX}{former.upper()}" for former in FORMER_NAMES)}
    for variable in environ:
        if variable.upper().startswith(_PREFIX) and variable not in known:
            _warn_of(variable)
    for name in OPEN_WHEN_UNSET:
        if environ.get(variables[name]) == "":
            raise InvalidInput(
                f"{variables[name]} is empty: give it a value, or unset it if nothing is to be restricted"
            )
    outside = {name: environ[variable] for name, variable in variables.items() if environ.get(variable)}
    for former, name in FORMER_NAMES.items():
        if value := environ.get(f"{_PREFIX}{former.upper()}"):
            _warn_of_former(f"{_PREFIX}{former.upper()}", variables[name], used=name not in outside)
            outside.setdefault(name, value)
    path = environ.get("METASTORE_CONFIG")
    inside = _read_file(path) if path else {}
    settings = make(
        {**inside, **outside}, lambda name: variables[name] if name in outside else f"{name} in the file {path}"
    )
    return settings if settings.user else replace(settings, user=_login_name())


@functools.cache
def _warn_of(variable: str) -> None:
    """Say that a variable is no setting, where somebody may think that it is one."""
    if variable.upper() == f"{_PREFIX}CLAIMS":
        _log.warning("%s is ignored: claims are a table in the file that METASTORE_CONFIG names", variable)
        return
    known = [f"{_PREFIX}{name.upper()}" for name in ("config", *NAMES) if name != "claims"]
    if near := difflib.get_close_matches(variable.upper(), known, 1, _ALIKE):
        _log.warning("%s is no setting and is ignored: did you mean %s?", variable, near[0])


@functools.cache
def _warn_of_former(former: str, name: str, *, used: bool) -> None:
    """Say that a setting has another name now, and whether the former one still counts."""
    _log.warning("%s is called %s now%s", former, name, "" if used else f", which is set too: {former} is ignored")


def _read_file(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            found = tomllib.load(file)
    except OSError as error:
        raise InvalidInput(f"METASTORE_CONFIG: {path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise InvalidInput(f"METASTORE_CONFIG: {path} is no TOML: {error}") from None
    for former, name in FORMER_NAMES.items():
        if former in found:
            _warn_of_former(f"{former} in {path}", name, used=name not in found)
            found.setdefault(name, found.pop(former))
    for name in found:
        if name not in NAMES:
            near = difflib.get_close_matches(name.lower().removeprefix(_PREFIX.lower()), NAMES, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(NAMES)}"
            raise InvalidInput(f"METASTORE_CONFIG: {path} has {name!r}, which is no setting: {hint}")
    return found


def verifier(settings: Settings) -> Verifier:
    """Make what says who sent a token: with the keys that the settings name, else with the service's own.

    Nothing is fetched yet. The service's own key is made if there is none.

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
    """Return one line that says what a service with these settings opens to whom."""
    service = settings.service
    readable = "datasets and bundles" if service.public_read else "bundles, but not datasets,"
    issuers = ["this service"] if has_own_key(settings) else []
    if _others_issue(service):
        issuers.append(service.jwt_issuer or "whoever has the keys in the settings")
    editors = f"Members of the groups in {settings.groups_file}" if settings.groups_file else "Nobody"
    line = f"Anyone may read {readable} without a token. Tokens come from {' and '.join(issuers)}. "
    line += f"{editors} may change bundles."
    if service.remote_user_from:
        line += f" {', '.join(service.remote_user_from)} may name the user of a page."
    return line


def own_secret(settings: Settings) -> str:
    """Return the key that the service signs its own tokens with; it is made if there is none yet.

    Raises:
        InvalidInput: The service has no key of its own, since others issue its tokens; or the key file is no such file.
        StorageUnavailable: It cannot be read or made.
    """
    from metastore.auth.own_key import own_key

    if _others_issue(settings.service) and not settings.service.key_file:
        raise InvalidInput(
            "whoever has the keys of METASTORE_JWT_KEY, METASTORE_JWKS_URL or METASTORE_JWT_SECRET issues the tokens "
            "here; set METASTORE_KEY_FILE to have a key of our own beside"
        )
    return own_key(_own_key_path(settings))


def session_secret(settings: Settings) -> str:
    """Return what the sessions of the pages are signed with; it is made if there is none yet.

    It changes with the keys that the settings name and with the service's own: who signed in by a token of a former key
    has to sign in again.

    Raises:
        InvalidInput: The file is open to others, or holds something else.
        StorageUnavailable: It cannot be read or made.
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
    secret = own_key(session_file(settings, "key"))
    return hmac.new(secret.encode(), repr(trusted).encode(), hashlib.sha256).hexdigest()


def session_file(settings: Settings, ending: str) -> str:
    """Return the path of a file about the sessions of the pages: beside the store, else in the working directory."""
    from metastore.storage.connect import private_file

    name = f"session.{ending}"
    beside = None if settings.url.startswith(("http:", "https:")) else private_file(settings.url, name)
    return beside or os.path.abspath(f"metastore-{name}")


def has_own_key(settings: Settings) -> bool:
    """Tell whether the service takes tokens of its own, as `metastore token` issues them."""
    return bool(settings.service.key_file) or not _others_issue(settings.service)


def _others_issue(service: ServiceSettings) -> bool:
    return bool(service.jwt_key or service.jwks_url or service.jwt_secret)


def _own_key_path(settings: Settings) -> str:
    from metastore.storage.connect import private_file

    if settings.service.key_file:
        return settings.service.key_file
    if settings.url.startswith(("http:", "https:")):
        raise InvalidInput("the store is a service elsewhere: tokens for it are issued there")
    path = private_file(settings.url, "token.key")
    if path is None:
        path = os.path.abspath("metastore.key")
        _log.warning("the store is no folder to keep a key in: tokens are signed with %s; see METASTORE_KEY_FILE", path)
    return path


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
    if not os.path.exists(text):  # whatever it is, it may be a secret
        raise InvalidInput(
            "this is neither PEM text nor a URL nor a file that is there; secrets are METASTORE_JWT_SECRET"
        )
    return FileKeys(text, algorithms)


@contextmanager
def _naming(setting: str) -> Iterator[None]:
    """Say of which setting an error speaks."""
    try:
        yield
    except InvalidInput as error:
        raise InvalidInput(f"{setting}: {error}") from None


def open_store(settings: Settings, *, url: str | None = None, **options: Any) -> Store:
    """Open the store that the settings name, or another one; `options` go before theirs.

    Raises what `metastore.connect` raises.
    """
    from metastore.connecting import connect, fitting

    place = settings.url if url is None else url
    return connect(place, **fitting(place, {**settings.options, **host_options(settings, place), **options}))


_KINDS = {"http": "service", "https": "service", "git+http": "git", "git+https": "git"}


def host_options(settings: Settings, url: str) -> dict[str, Any]:
    """Return what the settings have for the host of a store: the token that is meant for it, and no other."""
    kind = url.partition("://")[0].lower() if "://" in url else ""
    token = settings.tokens.get(_KINDS.get(kind, kind))
    return {"token": token} if token else {}


def open_bundles(settings: Settings, *, url: str | None = None, **options: Any) -> BundleRegistry:
    """Open the registry of bundles that the settings name, or another; without a groups file nobody may change them.

    Raises what `metastore.bundle.connect` raises.
    """
    from metastore.bundle.connecting import connect_bundles
    from metastore.bundle.policy import Groups

    place = url or settings.bundles_url or settings.url
    groups = Groups.load(settings.groups_file) if settings.groups_file else Groups.parse("groups =")
    return connect_bundles(place, groups, **host_options(settings, place), **options)


def wants_color() -> bool | None:
    """Return whether text is coloured: `NO_COLOR` and `FORCE_COLOR` (no-color.org) decide, else (None) the terminal."""
    if os.environ.get("NO_COLOR"):
        return False
    return True if os.environ.get("FORCE_COLOR") else None


def metrics_folder() -> str | None:
    """Return the folder in which the processes of a server share what they count, or None for a single process."""
    return os.environ.get(_METRICS_FOLDER) or None


def share_metrics(folder: str) -> None:
    """Let this process and its children count together; before anything is counted."""
    os.environ[_METRICS_FOLDER] = folder


def _login_name() -> str | None:
    """Return whose process this is, from the system and not from what the environment claims."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return None
