"""A service over a store in memory, and somebody who calls it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

import metastore
from metastore import MetaStore, bundle
from metastore.auth.access import Identity, parse_bundle_scopes, parse_scopes
from metastore.bundle import BundleRegistry
from metastore.config import ServiceSettings
from metastore.errors import AuthenticationError
from metastore.web import create_app

from ..conftest import ticking
from .described import describe

API = "/api/v1"
CARS = f"{API}/datasets/physics/cars"
ENVELOPE = "application/vnd.metastore+json"
GROUPS = "groups = NOvA MINOS\nNOvA = ann\nMINOS = bo\nroot = carol"
#: What an editor of an organisation holds, as CKAN grants it for one dataset, and for all.
EDITOR = ("ds:physics/cars", "ds:physics/*:create,list,read")
ADMIN = ("ds:*:*",)
#: The scope that lets the groups file decide which bundles a token's user may change.
BUNDLES = "bundles:*:write"


class Authority:
    """Stands in for an issuer of tokens and for what checks them."""

    def token(self, user: str | None, *scopes: str, **claims: Any) -> str:
        return json.dumps({"user": user, "scopes": scopes, **claims})

    def identify(self, token: str) -> Identity:
        try:
            said = json.loads(token)
            texts = list(said["scopes"])
            return Identity(
                said["user"], said.get("name"), said.get("email"), parse_scopes(texts), parse_bundle_scopes(texts)
            )
        except (ValueError, LookupError, TypeError, AttributeError):
            raise AuthenticationError("the token is no token") from None


class Caller:
    """Sends requests with one token, or none."""

    def __init__(self, client: FlaskClient, token: str | None) -> None:
        self._client = client
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def __getattr__(self, method: str) -> Callable[..., TestResponse]:
        send: Callable[..., TestResponse] = getattr(self._client, method)

        def call(path: str, *, headers: Any = (), **more: Any) -> TestResponse:
            if isinstance(more.get("data"), (dict, list)):
                more["data"] = json.dumps(more["data"])
            # To the end, as a server would: a request is logged and counted when its answer is sent.
            return send(path, headers={**self._headers, **dict(headers)}, buffered=True, **more)

        return call


class Door:
    """A service, and how to come as somebody."""

    def __init__(self, app: Flask, authority: Authority) -> None:
        self.app = describe(app)
        self._authority = authority

    def comes(self, user: str | None, *scopes: str, **claims: Any) -> Caller:
        return Caller(self.app.test_client(), self._authority.token(user, *scopes, **claims))

    @property
    def anybody(self) -> Caller:
        return Caller(self.app.test_client(), None)

    @property
    def admin(self) -> Caller:
        return self.comes("ann", *ADMIN, name="Ann Lee", email="ann@example.org")


@pytest.fixture
def authority() -> Authority:
    return Authority()


@pytest.fixture
def memory() -> MetaStore:
    return metastore.connect("memory:", author="Setup", clock=ticking())


@pytest.fixture
def registry() -> BundleRegistry:
    return bundle.connect("memory:", groups=bundle.Groups.parse(GROUPS), clock=ticking())


@pytest.fixture
def door(memory: MetaStore, registry: BundleRegistry, authority: Authority) -> Door:
    return Door(create_app(memory, verifier=authority, bundles=registry), authority)  # type: ignore[arg-type]


@pytest.fixture
def closed(memory: MetaStore, registry: BundleRegistry, authority: Authority) -> Door:
    """A service that nobody reads without a token."""
    settings = ServiceSettings(public_read=False)
    app = create_app(memory, verifier=authority, bundles=registry, settings=settings)  # type: ignore[arg-type]
    return Door(app, authority)


@pytest.fixture
def careful(memory: MetaStore, authority: Authority) -> Door:
    """A service that demands preconditions."""
    settings = ServiceSettings(require_if_match=True)
    return Door(create_app(memory, verifier=authority, settings=settings), authority)  # type: ignore[arg-type]
