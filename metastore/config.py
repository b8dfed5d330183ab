"""Reads settings from the environment and a file, and opens what they name. No other module reads the environment.

| variable | meaning | default |
|---|---|---|
| `METASTORE_CONFIG` | a settings file, in TOML | none |
| `METASTORE_STORE` | the store | `./metastore-data` |
| `METASTORE_TOKEN` | the caller's token, if the store is a service | none: only public data can be read |
| `METASTORE_AUTHOR` | the author of writes, as `Name <email>` | Git's own configuration |
| `METASTORE_LFS_URL` | a Git LFS server, with `{owner}` and `{name}` in it | no files for Git LFS |
| `METASTORE_LFS_FOLDER` | the folder of that server's files, with `{owner}` and `{name}` in it | files are not shown |
| `METASTORE_VALIDATION` | `off`, `warn` or `strict` | `warn` |
| `METASTORE_VERSION_RULE` | `off`, `warn` or `refuse`: a `version` that claims less than a write changes | `off` |
| `METASTORE_GRADES` | a JSON file with the rules that grade differences | those of MetaStore |
| `METASTORE_MAX_BYTES` | the largest descriptor, in bytes | 33554432 (32 MiB) |
| `METASTORE_DURABLE` | a database that can lose acknowledged changes: `required` refuses it, `warn`, `off` | `warn` |
| `METASTORE_GITHUB_TOKEN` | a token for a store on GitHub | no access |
| `METASTORE_GITLAB_TOKEN` | a token for a store on GitLab | no access |
| `METASTORE_GITEA_TOKEN` | a token for a store on Gitea or Forgejo | no access |
| `METASTORE_GIT_TOKEN` | a token for a store on a plain Git server | public repositories only |
| `METASTORE_CACHE` | a folder for indexes of stores that are not in a folder, or `off` | `$XDG_CACHE_HOME/metastore` |
| `METASTORE_BUNDLES_URL` | the location of bundles | the store |
| `METASTORE_GROUPS_FILE` | the groups file, which says who may change which bundles | bundles can only be read |
| `METASTORE_SOURCE_TOKEN` | the token for the source of a copy from one service to another | none: only public data |
| `METASTORE_MIRROR_TOKEN` | the password at the remote of `metastore mirror` | Git's credential helpers |
| `METASTORE_MIRROR_USER` | the user name for that password | `oauth2`, which GitHub and GitLab accept |
| `METASTORE_USER` | the user who changes bundles on the command line | the login name |
| `METASTORE_PUBLIC_READ` | whether datasets can be read without a token; bundles always can | `on` |
| `METASTORE_REQUIRE_IF_MATCH` | whether a write has to name the revision that it is for | `off` |
| `METASTORE_CORS_ORIGINS` | origins whose pages may call the service | none |
| `METASTORE_DEFAULT_OWNER` | the owner of an id without an owner, in a scope | none |
| `METASTORE_JWT_KEY` | public keys of the issuers of tokens: PEM text, files, URLs | the service's own key |
| `METASTORE_JWKS_URL` | URLs of key sets | none |
| `METASTORE_JWT_SECRET` | secrets shared with the issuers of tokens | none |
| `METASTORE_JWT_ALGORITHMS` | the accepted algorithms | those that fit the keys |
| `METASTORE_JWT_ISSUER` | the required `iss` | any |
| `METASTORE_JWT_AUDIENCE` | the value that `aud` has to be or contain | any |
| `METASTORE_USER_CLAIM` | the claim that names the user | `sub` |
| `METASTORE_KEY_FILE` | the file of the service's own key | beside the store |
| `METASTORE_REMOTE_USER_FROM` | proxies that name the user of a page; `unix` for a socket | none |
| `METASTORE_REMOTE_USER_HEADER` | the header in which they name the user | `Remote-User` |
| `METASTORE_OIDC_ISSUER` | the OpenID Connect provider at which people sign in to the pages | none |
| `METASTORE_OIDC_CLIENT_ID` | the service's client id there | none |
| `METASTORE_OIDC_CLIENT_SECRET` | the service's client secret there | none |
| `METASTORE_PUBLIC_URL` | the service's public address | the `Host` of each request |
| `METASTORE_CLONE_URL` | where datasets can be cloned from, with `{owner}` and `{name}` in it | the service itself |
"""

from __future__ import annotations

import functools
import logging
import os
import pwd
import re
import stat
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from metastore.errors import InvalidInput
from metastore.settings import FORMER_NAMES, NAMES, OPEN_WHEN_UNSET, ServiceSettings, Settings, make
from metastore.trust import openness, own_secret, verifier

if TYPE_CHECKING:
    from metastore.bundle.policy import Groups
    from metastore.bundle.registry import BundleRegistry
    from metastore.store.base import Store

__all__ = [
    "ServiceSettings",
    "Settings",
    "databases",
    "load",
    "open_bundles",
    "open_store",
    "openness",
    "own_secret",
    "verifier",
]
_PREFIX = "METASTORE_"
#: The similarity, up to 1, at which a name counts as a misspelling of another. People have variables of their own, too.
_ALIKE = 0.9
#: The name that Prometheus and its library use.
_METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
#: A password in a URL: before the host, or among libpq's parameters.
_PASSWORD = re.compile(r"://[^/?#@]*:[^/?#]*@|(^|[?&\s])password=")
_log = logging.getLogger("metastore.config")


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings. The environment takes precedence over the file that `METASTORE_CONFIG` names.

    A variable whose name resembles a setting's is reported in a warning, once per process.

    Args:
        environ: The variables; by default those of the process.
        url: The store, where it is named otherwise.

    Raises:
        InvalidInput: A setting is invalid; the message names it.
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
    states, caches = _folder_of("XDG_STATE_HOME", "~/.local/state"), _folder_of("XDG_CACHE_HOME", "~/.cache")
    cache = os.path.expanduser(settings.cache) if settings.cache else os.path.join(caches, "metastore")
    return replace(
        settings, user=settings.user or _login_name(), states=states, cache=None if settings.cache == "off" else cache
    )


@functools.cache
def _warn_of(variable: str) -> None:
    """Warn that a variable is not a setting, since its name resembles one."""
    if variable.upper() == f"{_PREFIX}CLAIMS":
        _log.warning("%s is ignored: claims are a table in the file that METASTORE_CONFIG names", variable)
        return
    import difflib

    known = [f"{_PREFIX}{name.upper()}" for name in ("config", *NAMES) if name != "claims"]
    if near := difflib.get_close_matches(variable.upper(), known, 1, _ALIKE):
        _log.warning("%s is not a setting and is ignored: did you mean %s?", variable, near[0])


@functools.cache
def _warn_of_former(former: str, name: str, *, used: bool) -> None:
    """Warn that a setting has a new name, and say whether the former one still counts."""
    _log.warning("%s is called %s now%s", former, name, "" if used else f", which is set too: {former} is ignored")


def _read_file(path: str) -> dict[str, Any]:
    import difflib
    import tomllib

    try:
        with open(path, "rb") as file:
            found = tomllib.load(file)
            is_open = bool(os.fstat(file.fileno()).st_mode & stat.S_IROTH)
    except OSError as error:
        from metastore.os_errors import in_words

        raise InvalidInput(f"METASTORE_CONFIG: {path} cannot be read: {in_words(error)}") from None
    except ValueError as error:
        place = str(error).rpartition("(")[2].rstrip(")")  # such as "at line 3, column 1"
        raise InvalidInput(
            f"METASTORE_CONFIG: {path} is not TOML {place if place.startswith('at ') else ''}: a line looks like "
            'store = "/var/lib/metastore"'
        ) from None
    if is_open and any(_is_secret(name, value) for name, value in found.items()):
        _log.warning("%s holds secrets, and all users of this machine can read it: chmod o= %s", path, path)
    for former, name in FORMER_NAMES.items():
        if former in found:
            _warn_of_former(f"{former} in {path}", name, used=name not in found)
            found.setdefault(name, found.pop(former))
    for name in found:
        if name not in NAMES:
            near = difflib.get_close_matches(name.lower().removeprefix(_PREFIX.lower()), NAMES, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(NAMES)}"
            raise InvalidInput(f"METASTORE_CONFIG: {path} has {name!r}, which is not a setting: {hint}")
    return found


def _is_secret(name: str, value: object) -> bool:
    """Tell whether a setting is a secret, or the address of a database with its password."""
    return name.endswith(("secret", "token")) or (isinstance(value, str) and _PASSWORD.search(value) is not None)


def open_store(settings: Settings, *, url: str | None = None, **options: Any) -> Store:
    """Open the store that the settings name, or the one at `url`; `options` take precedence over the settings.

    Raises what `metastore.connect` raises.
    """
    from metastore.connecting import connect, fitting

    place = settings.url if url is None else url
    cache = {"cache": settings.cache}
    return connect(place, **fitting(place, {**cache, **settings.options, **host_options(settings, place), **options}))


_KINDS = {"http": "service", "https": "service", "git+http": "git", "git+https": "git"}


def host_options(settings: Settings, url: str) -> dict[str, Any]:
    """Return the options for the host of a store: the token that is meant for it, and no other."""
    kind = url.partition("://")[0].lower() if "://" in url else ""
    token = settings.tokens.get(_KINDS.get(kind, kind))
    return {"token": token} if token else {}


def open_bundles(
    settings: Settings, *, url: str | None = None, groups: Groups | None = None, **options: Any
) -> BundleRegistry:
    """Open the registry of bundles that the settings name, or the one at `url`.

    Without a groups file, bundles are read-only. `groups` takes precedence over the file that the settings name.

    Raises what `metastore.bundle.connect` raises.
    """
    from metastore.bundle.connecting import connect_bundles
    from metastore.bundle.policy import Groups
    from metastore.storage.connect import is_database

    place = url or settings.bundles_url or settings.url
    if groups is None:
        groups = Groups.load(settings.groups_file) if settings.groups_file else Groups.parse("groups =")
    durable = {"durable": settings.options["durable"]} if "durable" in settings.options and is_database(place) else {}
    return connect_bundles(place, groups, **{**durable, **host_options(settings, place), **options})


def databases(settings: Settings) -> tuple[str, ...]:
    """Return the URLs of the PostgreSQL databases that hold datasets or bundles."""
    from metastore.storage.connect import is_database

    places = dict.fromkeys((settings.url, settings.bundles_url or settings.url))
    return tuple(os.fspath(place) for place in places if is_database(place))


def wants_color() -> bool | None:
    """Return whether text is coloured: `NO_COLOR` and `FORCE_COLOR` (no-color.org) decide, else (None) the terminal."""
    if os.environ.get("NO_COLOR"):
        return False
    return True if os.environ.get("FORCE_COLOR") else None


def metrics_folder() -> str | None:
    """Return the folder in which the processes of a server share their counters, or None for a single process."""
    return os.environ.get(_METRICS_FOLDER) or None


def share_metrics(folder: str) -> None:
    """Let this process and its children share their counters. Called before anything is counted."""
    os.environ[_METRICS_FOLDER] = folder


def _folder_of(variable: str, default: str) -> str:
    """Return a folder for this user's programs (XDG Base Directory Specification)."""
    named = os.environ.get(variable, "")
    return named if os.path.isabs(named) else os.path.expanduser(default)


def _login_name() -> str | None:
    """Return the owner of the process, from the system and not from the environment, or None."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return None
