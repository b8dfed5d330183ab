"""Schemathesis makes requests of the description, right ones and wrong ones, and looks whether the answers fit it."""

from __future__ import annotations

import os
import zlib

import schemathesis
from flask import Flask
from hypothesis import HealthCheck, settings
from schemathesis import checks

import metastore
from metastore import bundle
from metastore.service import context
from metastore.web import create_app

from ..conftest import real_descriptor, ticking
from .conftest import ADMIN, GROUPS, Authority
from .described import DOCUMENT

LONG = bool(os.environ.get("METASTORE_SOAK"))
PLAYED = settings(
    max_examples=300 if LONG else 6,
    derandomize=not LONG,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
CHECKS = [
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.response_headers_conformance,
    checks.unsupported_method,
    checks.missing_required_header,
]
#: Those of a body: after `Prefer: return=minimal` there is none, which OpenAPI cannot say.
OF_A_BODY = [checks.content_type_conformance, checks.response_schema_conformance]
EXAMPLES = DOCUMENT["components"]["examples"]
NEW = {key: value for key, value in EXAMPLES["NewBundle"]["value"].items() if key != "comment"}
AUTHORITY = Authority()
#: Nobody has no token, bo may only read, carol may do everything; she comes last.
TOKENS: dict[str, tuple[str, ...]] = {
    "nobody": (),
    "bo": ("bo", "ds:okfn/*:read,list"),
    "carol": ("carol", *ADMIN, "ds:*:*:import"),
}


def service() -> context.Service:
    """Return a service that has what the examples of the description name."""
    store = metastore.connect("memory:", author="Setup", clock=ticking())
    first = store.dataset_create("okfn/compression", real_descriptor("okfn/compression"))
    store.dataset_patch("okfn/compression", {"title": "Compressed files"})
    store.tag_create("okfn/compression", "v1.0", first.revision.id, description="As published")
    registry = bundle.connect("memory:", groups=bundle.Groups.parse(GROUPS), clock=ticking())
    registry.bundle_create({**NEW, "name": "BoosterNeutrinoBeam_read", "ifb_group": "NOvA"}, user="ann")
    # Nobody may wait for changes: it takes time, and changes nothing.
    return context.Service(store, AUTHORITY, registry, may_wait=context.waiting_places(0))  # type: ignore[arg-type]


def application() -> Flask:
    served = service()
    return create_app(served.store, verifier=served.verifier, bundles=served.bundles)


APP = application()
for service_name in ("upload", "receive"):
    schemathesis.serializer.alias(f"application/x-git-{service_name}-pack-request", "text/plain")
#: The borders of all schemas are thousands of requests, which cost seconds to prepare in each process of the tests.
CONFIG = schemathesis.Config.from_dict({"phases": {"coverage": {"enabled": LONG}}})
description = schemathesis.openapi.from_wsgi("/openapi.json", APP, config=CONFIG)


@description.parametrize()
@PLAYED
def test_the_responses_to_any_request_are_described(case: schemathesis.Case) -> None:
    served = service()
    context.install(APP, served)
    before = state(served)
    for user in asking(case):
        ask(case, *TOKENS[user])
        if user != "carol":
            assert state(served) == before, "who may only read has changed something"


def asking(case: schemathesis.Case) -> tuple[str, ...]:
    """Return who sends a request: in the soak all of them; else one, chosen by what is sent, carol half of the time."""
    if LONG:
        return "nobody", "bo", "carol"
    sent = repr((case.method, case.path_parameters, case.query, case.headers, case.body))
    return (("nobody", "bo", "carol", "carol")[zlib.crc32(sent.encode(errors="surrogatepass")) % 4],)


def ask(case: schemathesis.Case, *granted: str) -> None:
    headers = {"Authorization": f"Bearer {AUTHORITY.token(*granted)}"} if granted else {}
    response = case.call(headers=headers)
    minimal = "preference-applied" in response.headers
    case.validate_response(response, headers=headers, checks=CHECKS if minimal else [*CHECKS, *OF_A_BODY])
    assert not (minimal and response.content)


def state(served: context.Service) -> tuple[object, ...]:
    """Return what tells whether something was written."""
    store, registry = served.store, served.bundles
    assert registry is not None
    datasets = [(entry.dataset_id, entry.revision) for entry in store.changes()]
    return (*datasets, *store.tag_list("okfn/compression"), *store.journal(), *registry.bundle_log(limit=1))
