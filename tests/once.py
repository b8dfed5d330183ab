"""Work that each test would repeat with the same result, done once in a process."""

from __future__ import annotations

from typing import Any

from werkzeug.routing import Rule


def compile_routes_once() -> None:
    """Let Werkzeug compile each route once, and not again for each app, which takes 50 ms an app.

    The function that builds an address depends on the text of the rule alone, as long as the rule has no defaults.
    """
    compile_builder = Rule._compile_builder
    builders: dict[Any, Any] = {}

    def compile_once(rule: Rule, append_unknown: bool = True) -> Any:
        if rule.defaults:
            return compile_builder(rule, append_unknown)
        key = append_unknown, tuple(rule._trace)
        if key not in builders:
            builders[key] = compile_builder(rule, append_unknown)
        return builders[key]

    Rule._compile_builder = compile_once  # type: ignore[method-assign]
