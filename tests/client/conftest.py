"""A store, a service over it, a proxy in front of that, and a store on the other side."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import pytest

import metastore
from metastore import MetaStore

from ..conftest import ANN, EPOCH
from ..harness.http_proxy import Proxy, no_waiting, proxied
from ..loopback import TOKEN, serving


def noon() -> datetime:
    return EPOCH


@pytest.fixture
def served() -> MetaStore:
    """Return the store of the service; everything happens at one time, so that ids can be compared."""
    return metastore.connect("memory:", author=ANN, clock=noon)


@pytest.fixture
def twin() -> MetaStore:
    """The same calls on this one say what should have become of them."""
    return metastore.connect("memory:", author=ANN, clock=noon)


@pytest.fixture
def proxy(served: MetaStore) -> Iterator[Proxy]:
    with serving(served) as address, proxied(address) as made:
        yield made


@pytest.fixture
def remote(proxy: Proxy) -> Iterator[MetaStore]:
    with metastore.connect(proxy.address, token=TOKEN, author=ANN, timeout=(5, 20)) as made:
        no_waiting(made)
        yield made
