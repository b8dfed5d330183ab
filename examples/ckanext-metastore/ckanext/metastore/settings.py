"""The extension's settings, and the store that they name."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import ckan.plugins.toolkit as tk
from ckanext.metastore.authors import author
from ckanext.metastore.sync import Recorder
from ckanext.metastore.tokens import Signer

import metastore

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """What `ckanext.metastore.*` says.

    Attributes:
        url: The store, as `metastore.connect` takes it.
        options: What else `metastore.connect` is given, as JSON text.
        token: For a service: what the extension shows it.
        signing_key: For a service: the path of a private key (PEM), to sign a token per user instead.
        must_succeed: Whether a change in CKAN fails when MetaStore cannot record it.
        patience: How many seconds a change in CKAN waits for MetaStore.
        owner: The owner of the portal's datasets in the store.
        private_too: Whether private datasets are recorded.
        emails: Whether authors are recorded with their e-mail addresses.
    """

    url: str
    options: str
    token: str = field(repr=False)
    signing_key: str
    must_succeed: bool
    patience: int
    owner: str
    private_too: bool
    emails: bool


def declare(declaration: Any, key: Any) -> None:
    """Declare the settings to CKAN."""
    declaration.annotate("MetaStore")
    group = key.ckanext.metastore
    texts = {
        "url": ("", "The store: a path, or the address of a service"),
        "options": ("{}", "More options for metastore.connect, as JSON"),
        "token": ("", "For a service: the token that is shown to it"),
        "signing_key": ("", "For a service: a private key (PEM file) that signs a token per user"),
        "owner": ("ckan", "The owner of the portal's datasets in the store; no other portal has the same one"),
    }
    for name, (default, description) in texts.items():
        declaration.declare(getattr(group, name), default).set_description(description)
    declaration.declare(group.on_failure, "continue").set_description(
        "continue: CKAN's change succeeds without MetaStore, and `reconcile` catches up. fail: it fails"
    )
    declaration.declare_int(group.patience, 10).set_description("How many seconds a change waits for MetaStore")
    declaration.declare_bool(group.private_datasets, False).set_description(
        "Record private datasets too; only where MetaStore cannot be read by everybody"
    )
    declaration.declare_bool(group.author_emails, False).set_description("Record e-mail addresses of authors")


def current() -> Settings:
    """Read the settings as they are now.

    Raises:
        metastore.InvalidInput: One of them makes no sense.
    """
    said = {name: tk.config.get(f"ckanext.metastore.{name}") for name in _NAMES}
    if not said["url"]:
        raise metastore.InvalidInput("ckanext.metastore.url is not set")
    if said["on_failure"] not in ("continue", "fail"):
        raise metastore.InvalidInput(f"ckanext.metastore.on_failure is continue or fail, not {said['on_failure']!r}")
    if not isinstance(_json(said["options"] or "{}"), dict):
        raise metastore.InvalidInput("ckanext.metastore.options is no JSON object")
    return Settings(
        url=said["url"],
        options=said["options"] or "{}",
        token=said["token"] or "",
        signing_key=said["signing_key"] or "",
        must_succeed=said["on_failure"] == "fail",
        patience=said["patience"],
        owner=said["owner"],
        private_too=said["private_datasets"],
        emails=said["author_emails"],
    )


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return None


_NAMES = (
    "url", "options", "token", "signing_key", "on_failure", "patience", "owner", "private_datasets",
    "author_emails",
)  # fmt: skip


def check_at_start() -> None:
    """Say in the log what an operator should know, and let CKAN start all the same."""
    try:
        found = current()
    except metastore.InvalidInput as error:
        log.error("datasets are not recorded: %s", error)
        return
    if found.private_too:
        log.warning("private datasets are recorded: make sure that MetaStore cannot be read by everybody")
    else:
        log.info("datasets are recorded in %s; private ones and drafts are not", found.url.rpartition("@")[2])


def recorder(user: str | None = None, *, dry_run: bool = False) -> Recorder:
    """Return the recorder that the settings name.

    Args:
        user: For whom, where a token is signed per user.
        dry_run: Whether it shall only say what it would do.

    Raises:
        metastore.MetastoreError: There is no such store.
    """
    found = current()
    return Recorder(_store(found, user if found.signing_key else None), found.owner, found.private_too, dry_run)


def _store(settings: Settings, user: str | None) -> metastore.Store:
    if settings.signing_key:
        token = _signer(settings).token_for(user, author(user, emails=settings.emails))
        return _connect(settings.url, settings.options, token)
    return _connect(settings.url, settings.options, settings.token)


def _signer(settings: Settings) -> Signer:
    try:
        return Signer(Path(settings.signing_key).read_text(), tk.config["ckan.site_url"])
    except OSError as error:
        raise metastore.InvalidInput(f"ckanext.metastore.signing_key cannot be read: {error.strerror}") from None


@lru_cache(64)
def _connect(url: str, options: str, token: str) -> metastore.Store:
    # CKAN has checked the dataset by its own schema; an empty list of resources would be a warning at every new one.
    local = {"validation": "off"} if "://" not in url or url.startswith("file:") else {}
    return metastore.connect(url, **local, **json.loads(options), **({"token": token} if token else {}))


def forget_stores() -> None:
    """Open stores anew when they are next needed."""
    _connect.cache_clear()
