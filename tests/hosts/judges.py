"""Judges that nobody here wrote: GitHub's own OpenAPI description, over every request and answer of the emulator."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs

from .server import Reply, Request

_DATA = Path(__file__).parent / "data"
#: An answer of these statuses has a body that the description leaves open.
_OPEN = {301, 307, 401, 403, 422, 429, 500, 502, 503}


@cache
def _description() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((_DATA / "openapi-pruned.json").read_text(), object_hook=_as_json_schema)
    return found


def _as_json_schema(value: dict[str, Any]) -> dict[str, Any]:
    """Say in the words of JSON Schema that a value may be null, which OpenAPI 3.0 has a word of its own for."""
    value.pop("discriminator", None)
    if value.get("nullable") is True and isinstance(value.get("type"), str):
        value["type"] = [value["type"], "null"]
        if "enum" in value:
            value["enum"] = [*value["enum"], None]
    return value


@cache
def _operations() -> list[tuple[re.Pattern[str], str, dict[str, Any]]]:
    found = []
    for path, item in sorted(_description()["paths"].items(), key=lambda each: each[0].count("{")):
        pattern = re.sub(r"\\{(path|ref|branch)\\}", ".+", re.escape(path))
        pattern = re.sub(r"\\{\w+\\}", "[^/]+", pattern)
        found += [(re.compile(pattern), method.upper(), operation) for method, operation in item.items()]
    return found


def operation_of(request: Request) -> dict[str, Any] | None:
    """Return GitHub's description of a call, or None where it has none."""
    path = request.raw_path.removeprefix("/api/v3")
    if path.endswith("/git/matching-refs/tags/"):
        path += "x"
    for pattern, method, operation in _operations():
        if method == request.method and pattern.fullmatch(path):
            return operation
    return None


def judge(request: Request, reply: Reply) -> None:
    """Raise AssertionError where a request or its answer is none of GitHub's."""
    if ".git/" in request.path:
        return  # Git's own server answers
    if request.path.endswith("/graphql"):
        return  # executed against GitHub's own schema
    operation = operation_of(request)
    assert operation, f"GitHub describes no {request.method} {request.path}"
    for name in ("user-agent", "x-github-api-version", "accept"):
        assert request.headers.get(name), f"{name} is missing"
    if request.body:
        _check(operation["requestBody"]["content"]["application/json"]["schema"], request.json(), f"{request}")
    _judge_answer(operation, request, reply)


def _judge_answer(operation: dict[str, Any], request: Request, reply: Reply) -> None:
    described = operation["responses"].get(str(reply.status))
    if described is None:
        assert reply.status in _OPEN | {304}, f"GitHub describes no {reply.status} for {request.method} {request.path}"
        return
    if "$ref" in described:
        described = _description()["components"]["responses"][described["$ref"].rpartition("/")[2]]
    content = described.get("content", {}).get("application/json")
    if content and reply.body is not None and not isinstance(reply.body, bytes):
        _check(content["schema"], reply.body, f"{request.method} {request.path} {reply.status}")


_validators: dict[int, jsonschema_rs.Draft4Validator] = {}  # by the identity of a schema that is there for ever


def _check(schema: dict[str, Any], value: Any, where: str) -> None:
    if id(schema) not in _validators:
        whole = {"allOf": [schema], "components": _description()["components"]}
        _validators[id(schema)] = jsonschema_rs.Draft4Validator(whole, validate_formats=False)
    errors = list(_validators[id(schema)].iter_errors(value))
    assert not errors, f"{where}: {[(error.instance_path, error.message[:300]) for error in errors[:3]]}"
