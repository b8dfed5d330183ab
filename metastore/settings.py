"""Settings as frozen values: how each is parsed, and the error for an invalid one."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from metastore.descriptor.lfs import check_url
from metastore.errors import InvalidInput
from metastore.parse import make_author, parse_dataset_id
from metastore.wording import shortened


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """The settings of a service.

    Attributes:
        public_read: Whether datasets can be read without a token. Bundles always can.
        require_if_match: Whether a write must name the revision that it changes.
        cors_origins: The origins whose pages may call the service; `*` for any.
        default_owner: The owner of an id without one, in a scope.
        jwt_key: Public keys of the issuers of tokens: PEM texts, paths or URLs.
        jwt_secret: Secrets shared with the issuers of tokens.
        jwks_url: URLs of key sets.
        jwt_algorithms: The permitted algorithms; empty permits all that fit a key.
        jwt_issuer: The required value of the claim `iss`, or None.
        jwt_audience: The value that the claim `aud` must be or contain, or None.
        user_claim: The claim that names the user.
        claims: Claim -> value -> scopes, for issuers that write roles or groups.
        key_file: The path of the service's own key; None means beside the store.
        remote_user_from: The addresses of proxies that name the user of a page; `unix` for a socket.
        remote_user_header: The header in which they name the user.
        oidc_issuer: The OpenID Connect provider at which people sign in to the pages, or None.
        oidc_client_id: The client id of this service at the provider.
        oidc_client_secret: The client secret.
        public_url: The address of the service for its users, without a trailing slash; None means the request's own.
        clone_url: The address to clone datasets from, with `{owner}` and `{name}` in it; None for the service itself.
        lfs_folder: The folder in which the Git LFS server keeps files, with `{owner}` and `{name}` in it; None if the
            service cannot read them.
        rate_at_once: How many costly requests of one caller a process works on at once; None for any number.
    """

    public_read: bool = True
    require_if_match: bool = False
    cors_origins: tuple[str, ...] = ()
    default_owner: str | None = None
    jwt_key: tuple[str, ...] = field(default=(), repr=False)
    jwt_secret: tuple[str, ...] = field(default=(), repr=False)
    jwks_url: tuple[str, ...] = field(default=(), repr=False)
    jwt_algorithms: tuple[str, ...] = ()
    jwt_issuer: str | None = None
    jwt_audience: str | None = None
    user_claim: str = "sub"
    claims: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    key_file: str | None = None
    remote_user_from: tuple[str, ...] = ()
    remote_user_header: str = "Remote-User"
    oidc_issuer: str | None = None
    oidc_client_id: str | None = None
    oidc_client_secret: str | None = field(default=None, repr=False)
    public_url: str | None = None
    clone_url: str | None = None
    lfs_folder: str | None = None
    rate_at_once: int | None = 4


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings that a program needs to open a store.

    Attributes:
        url: The store, as `metastore.connect` takes it.
        options: The options of `metastore.connect`.
        bundles_url: The registry of bundles, as `metastore.bundle.connect` takes it; None means the store's own.
        groups_file: The path of the groups file.
        user: The user who changes bundles on the command line.
        tokens: Kind of host (`service`, `github`, `gitlab`, `gitea`, `git`) -> the token for a store there.
        source_token: The token for the service that a copy reads, if its target is a service too.
        mirror_token: The password at the remote of a mirror.
        mirror_user: The user name that goes with it.
        states: The folder for what programs keep about a user: a store without a folder has its keys below it.
        cache: The folder for indexes of stores without a folder, which can be rebuilt; None keeps them in memory.
        service: The settings of a service.
    """

    url: str = field(repr=False)
    options: Mapping[str, Any]
    bundles_url: str | None = field(default=None, repr=False)
    groups_file: str | None = None
    user: str | None = None
    tokens: Mapping[str, str] = field(default_factory=dict, repr=False)
    source_token: str | None = field(default=None, repr=False)
    mirror_token: str | None = field(default=None, repr=False)
    mirror_user: str | None = None
    states: str = "~/.local/state"
    cache: str | None = None
    service: ServiceSettings = field(default_factory=ServiceSettings)


_OF_STORE = ("bundles_url", "groups_file", "user", "source_token", "mirror_token", "mirror_user", "cache")


def make(given: Mapping[str, Any], label: Callable[[str], str]) -> Settings:
    """Parse settings.

    Args:
        given: Name (one of `NAMES`) -> value, as text or as a TOML type.
        label: Returns the name of a setting for error messages.

    Raises:
        InvalidInput: A value is invalid. The message names the setting and says which values are valid.
    """
    values = {}
    for name, value in given.items():
        try:
            values[name] = _PARSERS[name](value)
        except InvalidInput as error:
            raise InvalidInput(f"{label(name)}: {error}") from None
    options = {name: values[name] for name in _OPTIONS if name in values}
    of_service = {field.name: values[field.name] for field in fields(ServiceSettings) if field.name in values}
    of_store = {name: values[name] for name in _OF_STORE if name in values}
    if of_service.get("oidc_issuer") and not of_service.get("oidc_client_id"):
        raise InvalidInput(f"{label('oidc_issuer')}: with a provider, {label('oidc_client_id')} has to be set as well")
    url = values.get("store", "./metastore-data")
    tokens = {kind: values[name] for kind, name in _TOKENS.items() if name in values}
    return Settings(url, options, **of_store, tokens=tokens, service=ServiceSettings(**of_service))


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise InvalidInput(f"this is a text, not {shortened(value)}")
    return value


def _checked(check: Callable[[str], Any]) -> Callable[[Any], str]:
    """Return a parser that checks a text and keeps it unchanged."""

    def parse(value: Any) -> str:
        check(text := _text(value))
        return text

    return parse


def _switch(value: Any) -> bool:
    words = {"on": True, "true": True, "yes": True, "1": True, "off": False, "false": False, "no": False, "0": False}
    found = words.get(str(value).lower())
    if found is None:
        raise InvalidInput(f"this is on or off, not {shortened(value)}")
    return found


def _one_of(*words: str) -> Callable[[Any], str]:
    """Return a parser of one of some words."""

    def check(text: str) -> None:
        if text not in words:
            raise InvalidInput(f"this is {', '.join(words[:-1])} or {words[-1]}, not {shortened(text)}")

    return _checked(check)


def _size(value: Any) -> int:
    if isinstance(value, bool) or not str(value).isdecimal() or not int(value):
        raise InvalidInput(f"this is a number of bytes, not {shortened(value)}")
    return int(value)


def _rate(value: Any) -> int | None:
    if value is False or str(value).lower() == "off":
        return None
    if isinstance(value, bool) or not re.fullmatch(r"[1-9][0-9]{0,3}", str(value)):
        raise InvalidInput(f"this is off or a number from 1 to 9999, not {shortened(value)}")
    return int(value)


def _list(check: Callable[[str], Any] = lambda text: None, cut: str = r"[\s,]+") -> Callable[[Any], tuple[str, ...]]:
    """Return a parser of lists; in one text, commas or white space separate the items."""

    def parse(value: Any) -> tuple[str, ...]:
        parts = re.split(cut, value.strip()) if isinstance(value, str) else value
        if not isinstance(parts, list) or not all(isinstance(each, str) and each for each in parts):
            raise InvalidInput("this is a list of texts")
        for each in parts:
            check(each)
        return tuple(parts)

    return parse


def _keys(value: Any) -> tuple[str, ...]:
    """Parse keys. PEM and key sets contain white space, and are one text; paths and URLs are a list."""
    if isinstance(value, str) and value.lstrip().startswith(("-----BEGIN", "{")):
        return (value.replace("\\n", "\n"),)  # environment files have one line per variable
    return _list()(value)


# Commands read the settings of a service, too. What checks them is imported when it is needed: that takes a while.


def _secret(text: str) -> None:
    from metastore.auth.keys import secret_key

    secret_key(text)


def _key_url(text: str) -> None:
    from metastore.auth.keys import check_key_url

    check_key_url(text)


def _algorithm(text: str) -> None:
    from metastore.auth.keys import ALGORITHMS

    if text not in ALGORITHMS:
        raise InvalidInput(f"{shortened(text)} is none of {', '.join(ALGORITHMS)}")


def _origin(text: str) -> None:
    if not re.fullmatch(r"\*|https?://([a-z0-9._-]+|\[[0-9a-f:]+\])(:[0-9]{1,5})?", text):
        raise InvalidInput(f"an origin looks like https://portal.example.org, without a path, not {shortened(text)}")


def _address(text: str) -> None:
    import ipaddress

    try:
        if text != "unix":
            ipaddress.ip_address(text)
    except ValueError:
        raise InvalidInput(f"{shortened(text)} is not an address such as 127.0.0.1, or unix for a socket") from None


def _header(text: str) -> None:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]*", text):
        raise InvalidInput(f"{shortened(text)} is not the name of a header, such as Remote-User")


def _template(text: str) -> None:
    if not {"{owner}", "{name}"} <= set(re.findall(r"\{\w*\}", text)):
        raise InvalidInput(
            "this is an address with {owner} and {name} in it, such as https://host/git/{owner}/{name}.git"
        )


def _folder(text: str) -> None:
    if not text.startswith("/") or not {"{owner}", "{name}"} <= set(re.findall(r"\{\w*\}", text)):
        raise InvalidInput(
            "this is an absolute path with {owner} and {name} in it, such as /srv/lfs/{owner}/{name}, "
            f"not {shortened(text)}"
        )


def _public_url(value: Any) -> str:
    text = _text(value)
    if not re.fullmatch(r"https?://([A-Za-z0-9._-]+|\[[0-9a-fA-F:.]+\])(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]*)?", text):
        raise InvalidInput(f"this is an address such as https://metadata.example.org, not {shortened(text)}")
    return text.rstrip("/")


def _claims(value: Any) -> Mapping[str, Mapping[str, object]]:
    if not isinstance(value, dict) or not all(isinstance(each, dict) for each in value.values()):
        raise InvalidInput('this is a table of claims, such as [claims.groups] with "editors" = "ds:physics/*:update"')
    from metastore.auth.access import check_scopes

    for values in value.values():
        for scopes in values.values():
            check_scopes(scopes, "any")  # any owner will do for the check
    return value


_PARSERS: Mapping[str, Callable[[Any], Any]] = {
    "store": _text,
    "token": _text,
    "github_token": _text,
    "gitlab_token": _text,
    "gitea_token": _text,
    "git_token": _text,
    "source_token": _text,
    "mirror_token": _text,
    "mirror_user": _text,
    "author": _checked(make_author),
    "lfs_url": _checked(check_url),
    "validation": _one_of("off", "warn", "strict"),
    "profiles": _text,
    "version_rule": _one_of("off", "warn", "refuse"),
    "grades": _text,
    "max_bytes": _size,
    "durable": _one_of("off", "warn", "required"),
    "replicas": _text,
    "bundles_url": _text,
    "groups_file": _text,
    "cache": _text,
    "user": _text,
    "public_read": _switch,
    "require_if_match": _switch,
    "cors_origins": _list(_origin),
    "default_owner": _checked(lambda text: parse_dataset_id((text, "any"))),
    "jwt_key": _keys,
    "jwt_secret": _list(_secret, r"\s+"),
    "jwks_url": _list(_key_url),
    "jwt_algorithms": _list(_algorithm),
    "jwt_issuer": _text,
    "jwt_audience": _text,
    "user_claim": _text,
    "claims": _claims,
    "key_file": _text,
    "remote_user_from": _list(_address),
    "remote_user_header": _checked(_header),
    "oidc_issuer": _checked(_key_url),
    "oidc_client_id": _text,
    "oidc_client_secret": _text,
    "public_url": _public_url,
    "clone_url": _checked(_template),
    "lfs_folder": _checked(_folder),
    "rate_at_once": _rate,
}
#: The names of settings in a file. In the environment they are in upper case, after `METASTORE_`.
NAMES = tuple(_PARSERS)
#: Settings that restrict something: an empty one is a mistake, and must not pass for one that is unset.
OPEN_WHEN_UNSET = (
    "public_read",
    "require_if_match",
    "jwt_algorithms",
    "jwt_issuer",
    "jwt_audience",
    "validation",
    "version_rule",
    "max_bytes",
    "durable",
    "rate_at_once",
)
#: Former names of settings, still accepted with a warning.
FORMER_NAMES = {"url": "store"}
_OPTIONS = ("author", "lfs_url", "validation", "profiles", "version_rule", "grades", "max_bytes", "durable", "replicas")
_TOKENS = {
    "service": "token",
    "github": "github_token",
    "gitlab": "gitlab_token",
    "gitea": "gitea_token",
    "git": "git_token",
}
