"""Tokens that ckanext-authz-service issues in a running CKAN, shown to running MetaStore services.

It is on no package index, so this runs where `make test-ckan AUTHZ_SERVICE=folder` names a checkout of
https://github.com/datopian/ckanext-authz-service. In a copy of it one import is changed, since Python 3.10 has no
`collections.Iterable` any more.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import jwt
import pytest

import metastore
from tests.ckan.portal import Portal
from tests.ckan.served_with_service import signed
from tests.ckan.service import Service, make_keys
from tests.waiting import free_port

SECRET = "only-for-tests-and-as-long-as-a-shared-secret-has-to-be"
OURS = "ckanext.authz_service"
SAID = {"name": "x", "resources": [{"name": "r", "path": "r.csv"}]}


class Issuer(NamedTuple):
    """A CKAN that issues tokens: one worker by RS256 with nothing set besides, one by HS256 with all that can be."""

    portal: Portal
    rsa: str
    shared: str
    editor: str  # her token for CKAN's own API
    keys: Path


@pytest.fixture(scope="module")
def patched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The extension, where Python and CKAN find it."""
    site = tmp_path_factory.mktemp("site")
    copy = site / "ckanext" / "authz_service"
    shutil.copytree(Path(os.environ["AUTHZ_SERVICE"]) / "ckanext" / "authz_service", copy)
    module = copy / "authzzie.py"
    old, new = "from collections import Iterable, defaultdict", "from collections import defaultdict"
    text = module.read_text()
    assert old in text
    module.write_text(text.replace(old, f"from collections.abc import Iterable\n{new}"))
    about = site / "ckanext_authz_service-0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: ckanext-authz-service\nVersion: 0\n")
    (about / "entry_points.txt").write_text(
        "[ckan.plugins]\nauthz_service = ckanext.authz_service.plugin:AuthzServicePlugin\n"
    )
    return site


@pytest.fixture(scope="module")
def issuer(patched: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Issuer]:
    keys = tmp_path_factory.mktemp("keys")
    make_keys(keys / "private.pem", keys / "public.pem")
    by_rsa = {
        f"{OURS}.jwt_algorithm": "RS256",
        f"{OURS}.jwt_private_key_file": str(keys / "private.pem"),
        f"{OURS}.jwt_public_key_file": str(keys / "public.pem"),
    }
    by_secret = {
        f"{OURS}.jwt_algorithm": "HS256",
        f"{OURS}.jwt_private_key": SECRET,
        f"{OURS}.jwt_audience": "metastore",
        f"{OURS}.jwt_include_user_email": "true",
        f"{OURS}.jwt_include_token_id": "true",
    }
    portal = Portal(
        Path(os.environ["CKAN_PROGRAMS"]).absolute(),
        testing=False,
        plugins="metastore activity authz_service",
        settings=by_rsa,
        environment={"PYTHONPATH": str(patched)},
    )
    try:
        portal.serve()
        rest = "\n".join(line for line in portal.ini.read_text().splitlines() if OURS not in line)
        said = "\n".join(f"{name} = {value}" for name, value in by_secret.items())
        portal.ini.write_text(rest.replace("[loggers]", f"{said}\n[loggers]"))
        port = free_port()
        portal.serve(port)
        ann = portal.user("ann", "Ann Lee")
        editor = portal.user("eve", "Eve Ray", sysadmin=False)
        for name, dataset in (("org1", "ds1"), ("org2", "other")):
            portal.act(ann, "organization_create", name=name)
            portal.act(ann, "package_create", name=dataset, owner_org=name)
        portal.act(ann, "organization_member_create", id="org1", username="eve", role="editor")
        portal.token = ann
        yield Issuer(portal, portal.url, f"http://127.0.0.1:{port}", editor, keys)
    finally:
        portal.close()


def issued(url: str, api_token: str | None, scopes: str) -> dict[str, Any]:
    """Ask for a token as a user does, and return the whole answer."""
    headers = {"Authorization": api_token} if api_token else {}
    answer = httpx.post(
        f"{url}/api/3/action/authz_authorize", json={"scopes": scopes}, headers=headers, timeout=120
    ).raise_for_status()
    found: dict[str, Any] = answer.json()["result"]
    return found


def payload(token: str) -> dict[str, Any]:
    found: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return found


@pytest.fixture(scope="module")
def running(issuer: Issuer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Service]]:
    """Services: one asks CKAN for its public key, one shares a secret with it, and for one CKAN has no key."""
    by_url = {"METASTORE_JWT_KEY": f"{issuer.rsa}/authz/public_key", "METASTORE_JWT_ISSUER": issuer.portal.url}
    by_secret = {"METASTORE_JWT_SECRET": SECRET, "METASTORE_JWT_AUDIENCE": "metastore"}
    trusting = {"rsa": by_url, "shared": by_secret, "none": {"METASTORE_JWT_KEY": f"{issuer.shared}/authz/public_key"}}
    made = {name: Service(tmp_path_factory.mktemp(name), settings) for name, settings in trusting.items()}
    try:
        for service in made.values():
            service.start()
        yield made
    finally:
        for service in made.values():
            service.stop()


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stores:
        yield stores


@pytest.mark.parametrize(
    ("asked", "granted"),
    [
        ("ds:org1/ds1", "ds:org1/ds1:delete,patch,read,update"),
        ("ds:org1/ds1:metadata:read,update", "ds:org1/ds1:metadata:read,update"),
        ("ds:ds1:metadata:update", "ds:ds1:metadata:update"),
        ("ds:org1/*", "ds:org1/*:create,list,read"),
        ("ds:org2/other", "ds:org2/other:read"),
        ("ds:org1/ds1 ds:org1/*", "ds:org1/ds1:delete,patch,read,update ds:org1/*:create,list,read"),
        ("ds:org1/new:create", ""),
        ("ds:*", ""),
        ("ds:org1/ds1:import", ""),
    ],
)
def test_an_editor_is_granted_what_the_documentation_says(issuer: Issuer, asked: str, granted: str) -> None:
    answer = issued(issuer.rsa, issuer.editor, asked)
    assert payload(answer["token"])["scopes"] == " ".join(answer["granted_scopes"]) == granted


def test_a_real_token_has_the_shape_of_those_that_the_other_tests_sign(
    issuer: Issuer, running: dict[str, Service]
) -> None:
    token = issued(issuer.rsa, issuer.editor, "ds:org1/ds1")["token"]
    real, made = payload(token), signed(running["rsa"], "ds:org1/ds1:read")
    assert jwt.get_unverified_header(token) == jwt.get_unverified_header(made) == {"alg": "RS256", "typ": "JWT"}
    assert {name: type(value) for name, value in real.items()} == {
        name: type(value) for name, value in payload(made).items()
    }
    assert (real["sub"], real["name"], real["iss"]) == ("eve", "Eve Ray", issuer.portal.url)
    assert 899 <= real["exp"] - real["nbf"] <= 900
    answer = httpx.get(f"{issuer.rsa}/authz/public_key")
    assert answer.headers["content-type"] == "application/x-pem-file"
    assert answer.text == (issuer.keys / "public.pem").read_text()


@pytest.mark.parametrize("by", ["rsa", "shared"])
def test_a_real_token_does_at_the_service_what_ckan_granted_and_no_more(
    issuer: Issuer, running: dict[str, Service], opened: ExitStack, by: str
) -> None:
    url, service = getattr(issuer, by), running[by]

    def editor(scopes: str) -> metastore.MetaStore:
        token = issued(url, issuer.editor, scopes)["token"]
        return opened.enter_context(metastore.connect(service.address, token=token))

    one, all_of_it, both = "ds:org1/ds1", "ds:org1/*", "ds:org1/ds1 ds:org1/*"
    editor(all_of_it).dataset_create("org1/ds1", SAID)
    edited = editor(one).dataset_update("org1/ds1", {**SAID, "title": "Edited"})
    email = "eve@example.org" if by == "shared" else ""  # CKAN is asked to say it
    assert edited.revision.author == metastore.Author("Eve Ray", email)
    editor(both).tag_create("org1/ds1", "v1")
    for call, refusal in [
        (lambda: editor(all_of_it).dataset_update("org1/ds1", SAID), metastore.PermissionDenied),
        (lambda: editor(both).dataset_purge("org1/ds1", force=True), metastore.PermissionDenied),
        (lambda: editor(both).dataset_update("org1/ds1", SAID, author="Ann Lee"), metastore.PermissionDenied),
        (lambda: editor(both).dataset_create("org2/mine", SAID), metastore.MetastoreError),
        (lambda: editor("ds:*").dataset_read("org1/ds1"), metastore.DatasetNotFound),
    ]:
        with pytest.raises(refusal):
            call()
    other = issued(issuer.shared if by == "rsa" else issuer.rsa, issuer.editor, both)["token"]
    with metastore.connect(service.address, token=other) as store, pytest.raises(metastore.AuthenticationError):
        store.dataset_read("org1/ds1")
    assert editor(one).dataset_read("org1/ds1").revision == edited.revision
    editor(one).dataset_delete("org1/ds1")


def test_a_token_id_of_any_characters_is_no_trouble(
    issuer: Issuer, running: dict[str, Service], opened: ExitStack
) -> None:
    for _ in range(20):  # it is made of eight random ones of `string.printable`, which has control characters
        token = issued(issuer.shared, issuer.editor, "ds:org1/*")["token"]
        assert len(payload(token)["jti"]) == 8
        store = opened.enter_context(metastore.connect(running["shared"].address, token=token))
        assert list(store.dataset_list("org1/")) == []


def test_a_sysadmin_is_granted_everything_but_another_name(
    issuer: Issuer, running: dict[str, Service], opened: ExitStack
) -> None:
    token = issued(issuer.rsa, issuer.portal.token, "ds:*")["token"]
    assert payload(token)["scopes"] == "ds:*:create,delete,list,patch,purge,read,update"
    store = opened.enter_context(metastore.connect(running["rsa"].address, token=token))
    store.dataset_create("org9/any", SAID)
    with pytest.raises(metastore.PermissionDenied):
        store.dataset_update("org9/any", {**SAID, "title": "T"}, author="Somebody Else")
    store.dataset_purge("org9/any", force=True)


def test_a_token_for_nobody_reads_what_all_may_see_and_writes_nothing(
    issuer: Issuer, running: dict[str, Service], opened: ExitStack
) -> None:
    admin = issued(issuer.rsa, issuer.portal.token, "ds:*")["token"]
    opened.enter_context(metastore.connect(running["rsa"].address, token=admin)).dataset_create("org2/other", SAID)
    token = issued(issuer.rsa, None, "ds:org2/other ds:org1/*:create")["token"]
    claims = payload(token)
    assert (claims["sub"], claims["name"], claims["scopes"]) == (None, None, "ds:org2/other:read")
    store = opened.enter_context(metastore.connect(running["rsa"].address, token=token))
    assert store.dataset_read("org2/other").descriptor == SAID
    with pytest.raises(metastore.PermissionDenied):
        store.dataset_update("org2/other", {**SAID, "title": "T"})


def test_a_ckan_that_has_no_public_key_is_trusted_with_nothing(
    issuer: Issuer, running: dict[str, Service], opened: ExitStack
) -> None:
    assert httpx.get(f"{issuer.shared}/authz/public_key").status_code == 204
    token = issued(issuer.shared, issuer.editor, "ds:org1/ds1")["token"]
    store = opened.enter_context(metastore.connect(running["none"].address, token=token))
    with pytest.raises((metastore.AuthenticationError, metastore.StorageUnavailable)):
        store.dataset_read("org1/ds1")
