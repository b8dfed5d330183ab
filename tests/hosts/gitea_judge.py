"""Judges that nobody here wrote: the descriptions that Gitea and Forgejo publish of their API.

Every request and answer of the emulator has to fit both. Neither says of most fields that they are always there; so a
field that neither describes is an error, and what our code reads is in the answers of both.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs

from .server import Reply, Request

_DATA = Path(__file__).parent / "data"
#: Answers that the descriptions leave out, or whose bodies they leave open.
_OPEN = {301, 307, 401, 403, 404, 409, 422, 429, 500, 502, 503}


@cache
def _descriptions() -> list[dict[str, Any]]:
    found = [json.loads((_DATA / f"{name}-pruned.json").read_text()) for name in ("gitea", "forgejo")]
    for description in found:
        for definition in description["definitions"].values():
            if "properties" in definition:
                definition["additionalProperties"] = False
    return found


@cache
def _validator(number: int, schema: str) -> jsonschema_rs.Draft4Validator:
    definitions = _descriptions()[number]["definitions"]
    return jsonschema_rs.Draft4Validator(
        {"allOf": [json.loads(schema)], "definitions": definitions}, validate_formats=False
    )


def _check(number: int, schema: dict[str, Any], value: Any, where: str) -> None:
    errors = list(_validator(number, json.dumps(schema)).iter_errors(value))
    assert not errors, f"{where}: {[(error.instance_path, error.message[:300]) for error in errors[:3]]}"


def _operation(description: dict[str, Any], request: Request) -> dict[str, Any]:
    path = request.raw_path.removeprefix("/api/v1")
    for template, item in sorted(description["paths"].items(), key=lambda each: each[0].count("{")):
        if re.fullmatch(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(template)), path) and request.method.lower() in item:
            return dict(item[request.method.lower()])
    raise AssertionError(f"{description['info']['title']} has no {request.method} {path}")


def judge(request: Request, reply: Reply) -> None:
    """Raise AssertionError where a request or its answer is none of Gitea's, or of Forgejo's."""
    if not request.raw_path.startswith("/api/v1/"):
        return  # Git's own server answers
    for number, description in enumerate(_descriptions()):
        where = f"{description['info']['title']}: {request.method} {request.path}"
        operation = _operation(description, request)
        parameters = {each["name"]: each for each in operation.get("parameters", [])}
        for name in request.query:
            assert parameters[name]["in"] == "query", f"{where} has no parameter {name}"
        if request.body:
            _check(number, parameters["body"]["schema"], request.json(), where)
        _judge_answer(number, operation, reply, where)


def _judge_answer(number: int, operation: dict[str, Any], reply: Reply, where: str) -> None:
    described = operation["responses"].get(str(reply.status))
    if reply.status in _OPEN:
        return
    assert described, f"{where} answers no {reply.status}"
    name = described["$ref"].rpartition("/")[2]
    schema = _descriptions()[number]["responses"][name].get("schema")
    if schema:
        _check(number, schema, reply.body, f"{where} {reply.status}")
    else:
        assert not reply.content, f"{where} {reply.status} has no content"
