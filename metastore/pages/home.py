"""The first page: what there is, and what changed last."""

from __future__ import annotations

from itertools import islice

from flask import Blueprint, render_template

from metastore.service.context import service
from metastore.service.guard import may_read

home = Blueprint("home", __name__)
_NEWEST = 8


@home.get("/")
def index() -> str:
    """Show the ways in."""
    served = service()
    datasets = list(islice((each for each in served.store.dataset_list() if may_read(each)), _NEWEST))
    log = served.bundles.bundle_log(limit=_NEWEST) if served.bundles else None
    return render_template("home.html", datasets=datasets, log=log)
