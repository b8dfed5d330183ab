"""The extension's settings, and the store that they name."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import ckan.plugins.toolkit as tk
import sqlalchemy as sa
from ckan import model
from ckanext.metastore.authors import PORTAL
from ckanext.metastore.errors import Misconfigured
from ckanext.metastore.patience import breaker
from ckanext.metastore.sync import Recorder
from ckanext.metastore.tokens import Signer
from sqlalchemy.dialects.postgresql import insert

import metastore
from metastore import ckan
from metastore.parse import parse_writable_id
from metastore.storage.connect import is_new

log = logging.getLogger(__name__)
#: How many seconds a request waits for MetaStore, unless the settings say otherwise.
PATIENCE = "5"
#: Where CKAN's table of facts about itself has the folder that was recorded in last.
_RECORDED_IN = "ckanext.metastore.recorded_in"


@dataclass(frozen=True)
class Settings:
    """What `ckanext.metastore.*` says.

    Attributes:
        url: The store, as `metastore.connect` takes it.
        options: What else `metastore.connect` is given, as JSON text.
        token: For a service: what the extension shows it.
        signing_key: For a service: the path of a private key (PEM), to sign a token per user instead.
        must_succeed: Whether a change in CKAN is refused while MetaStore is away.
        patience: How many seconds a request waits for MetaStore.
        owner: The owner of the portal's datasets in the store.
        private_too: Whether private datasets are recorded.
        emails: Whether authors are recorded with their e-mail addresses.
    """

    url: str = field(repr=False)
    options: str = field(repr=False)
    token: str = field(repr=False)
    signing_key: str
    must_succeed: bool
    patience: int
    owner: str
    private_too: bool
    emails: bool

    @property
    def place(self) -> str:
        """The store, without the user and the password that its address may have."""
        return self.url.rpartition("@")[2]


def declare(declaration: Any, key: Any) -> None:
    """Declare the settings to CKAN."""
    declaration.annotate("MetaStore")
    group = key.ckanext.metastore
    texts = {
        "url": ("", "The store: a path, or the address of a service"),
        "options": ("{}", "More options for metastore.connect, as JSON"),
        "token": ("", "For a service: the token that is shown to it"),
        "signing_key": ("", "For a service: a private key (PEM file) that signs a token per user"),
        "public_url": ("", "The address at which the public reaches the service, for addresses to clone from"),
        "owner": ("ckan", "The owner of the portal's datasets in the store; no other portal has the same one"),
    }
    for name, (default, description) in texts.items():
        declaration.declare(getattr(group, name), default).set_description(description)
    declaration.declare(group.on_failure, "continue").set_description(
        "continue: a change succeeds without MetaStore, and is recorded later. fail: it is refused"
    )
    declaration.declare_int(group.patience, int(PATIENCE)).set_description(
        "How many seconds a request waits for MetaStore"
    )
    declaration.declare(group.private_datasets, "false").set_description(
        "Record private datasets too; only where MetaStore cannot be read by everybody"
    )
    declaration.declare(group.author_emails, "false").set_description("Record e-mail addresses of authors")


def current() -> Settings:
    """Read the settings as they are now.

    Raises:
        Misconfigured: A setting makes no sense; the message names it.
    """
    if not (url := _text("url")):
        raise Misconfigured("ckanext.metastore.url is not set")
    on_failure = _text("on_failure") or "continue"
    if on_failure not in ("continue", "fail"):
        raise Misconfigured(f"ckanext.metastore.on_failure is continue or fail, not {on_failure!r}")
    options = _text("options") or "{}"
    if not isinstance(_json(options), dict):
        raise Misconfigured("ckanext.metastore.options is not a JSON object")
    owner = _text("owner") or ckan.OWNER
    try:
        parse_writable_id(ckan.dataset_id("any", owner=owner))
    except metastore.InvalidInput as error:
        raise Misconfigured(f"ckanext.metastore.owner: {error}") from None
    return Settings(
        url=url,
        options=options,
        token=_text("token"),
        signing_key=_text("signing_key"),
        must_succeed=on_failure == "fail",
        patience=_seconds("patience"),
        owner=owner,
        private_too=_switch("private_datasets"),
        emails=_switch("author_emails"),
    )


def clone_address(uuid: str) -> str:
    """Return the address to clone a dataset from; empty if the settings name none."""
    address = _text("public_url").rstrip("/")
    return f"{address}/git/{ckan.dataset_id(uuid, owner=current().owner)}.git" if address else ""


def _text(name: str) -> str:
    return str(tk.config.get(f"ckanext.metastore.{name}") or "").strip()


def _seconds(name: str) -> int:
    text = _text(name) or PATIENCE
    try:
        seconds = int(text)
    except ValueError:
        seconds = 0
    if not 1 <= seconds <= 600:
        raise Misconfigured(f"ckanext.metastore.{name} is a number of seconds from 1 to 600, not {text!r}")
    return seconds


def _switch(name: str) -> bool:
    try:
        return bool(tk.asbool(_text(name) or "false"))
    except ValueError:
        raise Misconfigured(f"ckanext.metastore.{name} is true or false, not {_text(name)!r}") from None


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return None


def check_at_start() -> None:
    """Say in the log what an operator should know, and let CKAN start all the same."""
    try:
        found = current()
    except Misconfigured as error:
        log.error("datasets are not recorded: %s", error)
        return
    if found.private_too:
        log.warning("private datasets are recorded: make sure that MetaStore cannot be read by everybody")
    else:
        log.info("datasets are recorded in %s; private ones and drafts are not", found.place)


def recorder(user: str = "", author: metastore.Author = PORTAL, *, dry_run: bool = False) -> Recorder:
    """Return a recorder that writes to the store of the settings.

    Args:
        user: The name of the user for whom a token is signed, if the settings want that; empty for the portal.
        author: The user, as revisions name the author.
        dry_run: Whether the recorder only returns what it would do.

    Raises:
        metastore.MetastoreError: A setting makes no sense, or the store cannot be opened.
    """
    settings = current()
    store = _connect(settings.url, settings.options, _token(settings, user, author), settings.patience)
    return Recorder(store, settings.owner, settings.private_too, dry_run)


def _token(settings: Settings, user: str, author: metastore.Author) -> str:
    if not settings.signing_key:
        return settings.token
    try:
        return _signer(settings).token_for(user, author)
    except metastore.InvalidInput as error:
        raise Misconfigured(str(error)) from None


def _signer(settings: Settings) -> Signer:
    try:
        return Signer(Path(settings.signing_key).read_text(), tk.config["ckan.site_url"])
    except OSError as error:
        raise Misconfigured(f"ckanext.metastore.signing_key cannot be read: {error.strerror}") from None


@lru_cache(64)
def _connect(url: str, options: str, token: str, patience: int) -> metastore.Store:
    said, is_folder = json.loads(options), "://" not in url or url.startswith("file:")
    if not is_folder:
        # A caller waits no longer than that, so nothing is gained by trying for longer.
        defaults: dict[str, Any] = {"timeout": patience, "retries": 1, **({"token": token} if token else {})}
    else:
        # CKAN has checked the dataset. The profiles of Data Package refuse the empty list of resources of a new one.
        defaults = {"validation": "off"}
    try:
        if is_folder and not said.get("create"):
            _expect_to_be_there(url)
        store = metastore.connect(url, **{**defaults, **said})
    except metastore.InvalidInput as error:
        raise Misconfigured(f"ckanext.metastore.options: {error}") from None
    if is_folder:
        _remember(url)
    return store


def _expect_to_be_there(url: str) -> None:
    """Refuse to make a new store where CKAN has recorded already: purges would find nothing to remove in it."""
    if is_new(url) and url == _remembered():
        raise metastore.StorageUnavailable(
            f"the store at {url} is gone: is its disk mounted? To begin with an empty one, set "
            'ckanext.metastore.options = {"create": true}'
        )


def _remembered() -> str | None:
    facts = model.system_info_table
    with model.meta.engine.connect() as connection:
        found = connection.execute(sa.select(facts.c.value).where(facts.c.key == _RECORDED_IN)).scalar()
    return None if found is None else str(found)


def _remember(url: str) -> None:
    if url != _remembered():
        row = {"key": _RECORDED_IN, "value": url, "state": model.State.ACTIVE}
        replaced = insert(model.system_info_table).values(row).on_conflict_do_update(index_elements=["key"], set_=row)
        with model.meta.engine.begin() as connection:
            connection.execute(replaced)


def forget_stores() -> None:
    """Open stores again when they are next needed."""
    _connect.cache_clear()
    breaker.forget()
