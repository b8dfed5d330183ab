"""The objects that an application serves, for its routes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flask import Flask, current_app, has_request_context, request

from metastore.auth.tokens import Verifier
from metastore.config import ServiceSettings
from metastore.service.places import Places
from metastore.service.watch import REQUEST_ID
from metastore.store.base import Store
from metastore.store.waiting import MOST_OF_ONE, MOST_WAITING, Waiting

if TYPE_CHECKING:
    from metastore.bundle.registry import BundleRegistry

_NAME = "metastore"


def waiting_places(of_one: int = MOST_OF_ONE, in_all: int = MOST_WAITING) -> Places:
    """Return the places of requests that wait for changes. None waits for one; a caller has a part."""
    return Places(of_one, waiting_for_each=0, patience=0.0, in_all=in_all)


@dataclass(frozen=True)
class Service:
    """The ready objects that the routes call.

    Attributes:
        store: The datasets.
        verifier: Turns tokens into identities.
        bundles: The registry of bundles, or None to serve none.
        settings: How the service behaves.
        secret_key: The key that signs the sessions of the pages.
        ended_sessions: The file of the sessions that have ended; None to keep them in memory.
        waiting: Waits for changes of the store.
        may_wait: The places of the requests that wait for them.
        databases: The URLs of the PostgreSQL databases whose numbers are among the metrics.
    """

    store: Store
    verifier: Verifier
    bundles: BundleRegistry | None = None
    settings: ServiceSettings = field(default_factory=ServiceSettings)
    secret_key: str = field(default="", repr=False)
    ended_sessions: str | None = None
    waiting: Waiting = field(default_factory=Waiting)
    may_wait: Places = field(default_factory=waiting_places)
    databases: tuple[str, ...] = field(default=(), repr=False)

    def close(self) -> None:
        """Close the store and the registry."""
        self.store.close()
        if self.bundles is not None:
            self.bundles.close()


def install(app: Flask, served: Service) -> None:
    """Make an application serve these objects."""
    app.extensions[_NAME] = served


def service() -> Service:
    """Return the objects that the application of this request serves."""
    served: Service = current_app.extensions[_NAME]
    return served


def address(path: str) -> str:
    """Return the absolute address of a path of this service.

    Args:
        path: A path from `url_for`, which includes the path that the service is mounted at.
    """
    public = service().settings.public_url
    if public is None:  # the Host header can be trusted: only its sender is shown the address
        return request.host_url.rstrip("/") + path
    return public + path.removeprefix(request.root_path)


def request_id() -> str | None:
    """Return the id of the current request, or None outside of one."""
    return request.environ.get(REQUEST_ID) if has_request_context() else None
