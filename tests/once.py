"""Work that each test would repeat with the same result, done once in a process."""

from __future__ import annotations

from typing import Any

from flask import Flask
from jinja2 import BytecodeCache
from jinja2.bccache import Bucket
from werkzeug.routing import Rule


def compile_routes_once() -> None:
    """Let Werkzeug compile each route once, and not again for each app, which takes 60 ms an app.

    What matches an address, and the function that builds one, depend on the text of the rule alone, as long as the rule
    has no defaults and each app has the same converters.
    """
    compile_builder, parse_rule = Rule._compile_builder, Rule._parse_rule
    builders: dict[Any, Any] = {}
    parsed: dict[str, tuple[list[Any], list[Any], dict[str, Any]]] = {}

    def compile_once(rule: Rule, append_unknown: bool = True) -> Any:
        if rule.defaults:
            return compile_builder(rule, append_unknown)
        key = append_unknown, tuple(rule._trace)
        if key not in builders:
            builders[key] = compile_builder(rule, append_unknown)
        return builders[key]

    def parse_once(rule: Rule, text: str) -> list[Any]:
        if text not in parsed:
            start = len(rule._trace)
            parts = list(parse_rule(rule, text))
            parsed[text] = parts, rule._trace[start:], dict(rule._converters)
            return parts
        parts, trace, converters = parsed[text]
        rule._trace.extend(trace)
        rule._converters.update(converters)
        rule.arguments.update(converters)
        return parts

    Rule._compile_builder = compile_once  # type: ignore[method-assign]
    Rule._parse_rule = parse_once  # type: ignore[method-assign]


class _Kept(BytecodeCache):
    """Templates as they were compiled before, by name and content."""

    def __init__(self) -> None:
        self.codes: dict[tuple[str, str], bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        if code := self.codes.get((bucket.key, bucket.checksum)):
            bucket.bytecode_from_string(code)

    def dump_bytecode(self, bucket: Bucket) -> None:
        self.codes[bucket.key, bucket.checksum] = bucket.bytecode_to_string()


def compile_templates_once() -> None:
    """Let Jinja compile each template once, and not again for each app."""
    Flask.jinja_options = {"bytecode_cache": _Kept()}
