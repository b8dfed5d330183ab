"""Holds every answer that a test gets to the description of the service: status, headers, media type, body.

What a route asks of the query is held to it as well.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
from flask import Flask, Request, Response, request
from flask.testing import FlaskClient
from werkzeug.datastructures import ImmutableMultiDict
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Rule
from werkzeug.test import TestResponse

from metastore.service.description import load

DOCUMENT = load()
#: The methods that Flask answers by itself.
AUTOMATIC = {"HEAD", "OPTIONS"}


def resolve(value: Any) -> Any:
    """Follow a reference, if it is one."""
    if "$ref" not in value:
        return value
    found: Any = DOCUMENT
    for part in value["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    return found


def template(rule: str) -> str:
    """Return the pattern of a route as OpenAPI writes it."""
    return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule)


def operation(method: str, path: str) -> dict[str, Any]:
    """Return what is said of a method of a path."""
    found: dict[str, Any] = DOCUMENT["paths"][path]["get" if method == "HEAD" else method.lower()]
    return found


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield each method, path, and what is said of them."""
    for path, item in DOCUMENT["paths"].items():
        for method, said in item.items():
            if method != "parameters":
                yield method.upper(), path, said


def parameters(method: str, path: str, place: str) -> set[str]:
    """Return the names of the parameters that are in this place, such as `query`."""
    given = [*DOCUMENT["paths"][path].get("parameters", ()), *operation(method, path).get("parameters", ())]
    return {each["name"] for each in map(resolve, given) if each["in"] == place}


@functools.cache
def _validator(schema: str) -> Any:
    whole = {**json.loads(schema), "components": DOCUMENT["components"]}
    return jsonschema_rs.Draft202012Validator(whole, validate_formats=True)


def problems(schema: dict[str, Any], value: Any) -> list[str]:
    """Return what is wrong with a value by a schema of the description."""
    return [f"{error.instance_path}: {error.message}" for error in _validator(json.dumps(schema)).iter_errors(value)]


class Asked(ImmutableMultiDict[str, str]):
    """The parameters of a query, and which of them were asked for."""

    def __init__(self, mapping: Any = None) -> None:
        super().__init__(mapping)
        self.asked: set[str] = set()

    def get(self, key: str, *more: Any, **options: Any) -> Any:
        self.asked.add(key)
        return super().get(key, *more, **options)

    def __contains__(self, key: object) -> bool:
        self.asked.add(str(key))
        return super().__contains__(key)


def _noting(kind: type[Request]) -> type[Request]:
    """Return a kind of request that notes, beside what it does, which parameters were asked for."""
    parameters = type("Parameters", (Asked, kind.parameter_storage_class), {})
    return type("Request", (kind,), {"parameter_storage_class": parameters})


class Described(FlaskClient):
    """A client to whom no answer may come that is not described."""

    def open(self, *args: Any, **more: Any) -> TestResponse:
        self.application.extensions["asked"] = set()
        answer = super().open(*args, **more)
        hold(self.application, answer, self.application.extensions["asked"])
        return answer


def describe(app: Flask) -> Flask:
    """Let the clients of an application hold its answers to the description."""
    app.test_client_class = Described
    app.request_class = _noting(app.request_class)
    app.extensions["seen"] = {}

    @app.after_request
    def note(response: Response) -> Response:
        if isinstance(request.args, Asked):
            app.extensions["asked"] = request.args.asked
        return response

    return app


def hold(app: Flask, answer: TestResponse, asked: set[str]) -> None:
    """Fail where an answer is not as it is described."""
    method, rule = answer.request.method, _rule_of(app, answer)
    if rule is not None and rule.endpoint.startswith("pages."):  # for people
        return
    path = template(rule.rule) if rule is not None else None
    where = f"{method} {path}: {answer.status_code}"
    assert "X-Request-ID" in answer.headers, where
    if method == "OPTIONS" and answer.status_code == 200:
        return
    if answer.mimetype == "text/html" and path not in DOCUMENT["paths"]:  # a page for people
        return
    if path is None:
        assert answer.status_code in (400, 404, 405), where
        _hold_body(where, {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}, answer)
        return
    said = operation(method, path)["responses"]
    assert {str(answer.status_code), f"{answer.status_code // 100}XX"} & said.keys(), f"{where} is not described"
    known = resolve(said.get(str(answer.status_code)) or said[f"{answer.status_code // 100}XX"])
    _hold_headers(where, known.get("headers", {}), answer)
    _hold_body(where, known.get("content", {}), answer)
    unknown = asked - parameters(method, path, "query")
    assert not unknown, f"{method} {path} asks for {unknown}, which is not described"
    seen = app.extensions["seen"].setdefault((method, path), (set(), set()))
    seen[0].add(answer.status_code)
    seen[1].update(asked)


def _rule_of(app: Flask, answer: TestResponse) -> Rule | None:
    try:
        rule: Rule
        rule, _ = app.url_map.bind("localhost").match(answer.request.path, answer.request.method, return_rule=True)
    except HTTPException:
        return None
    return rule


def _hold_headers(where: str, known: dict[str, Any], answer: TestResponse) -> None:
    for name, said in ((name, resolve(said)) for name, said in known.items()):
        value: Any = answer.headers.get(name)
        if value is None:
            assert not said.get("required"), f"{where} has no {name}"
            continue
        if said["schema"].get("type") == "integer":
            value = int(value)
        assert not problems(said["schema"], value), f"{where}: {name}: {value}"


def _hold_body(where: str, known: dict[str, Any], answer: TestResponse) -> None:
    if answer.request.method == "HEAD" or not known or (answer.status_code == 201 and not answer.data):
        assert not answer.data, where
        return
    assert answer.mimetype in known, f"{where}: {answer.mimetype} is not described"
    if answer.mimetype.endswith("json"):
        assert not (wrong := problems(known[answer.mimetype]["schema"], json.loads(answer.data))), f"{where}: {wrong}"
