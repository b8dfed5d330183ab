"""Pages of bundles."""

from __future__ import annotations

from flask import Blueprint, render_template, request

from metastore.service.bundles import registry

bundles = Blueprint("bundles", __name__)


@bundles.get("/bundles")
def index() -> str:
    """List bundles."""
    given = request.args
    found = registry().bundle_list(group=given.get("group") or None, device=given.get("device") or None)
    return render_template("bundles/index.html", bundles=found)


@bundles.get("/log")
def log() -> str:
    """Show the record."""
    return render_template("bundles/log.html", log=registry().bundle_log())
