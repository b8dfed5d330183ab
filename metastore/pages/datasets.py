"""Pages of datasets."""

from __future__ import annotations

from flask import Blueprint, render_template, request

from metastore.service import requests
from metastore.service.context import service
from metastore.service.guard import readable, require_read

datasets = Blueprint("datasets", __name__)


@datasets.get("/datasets")
def index() -> str:
    """List datasets."""
    found = readable(service().store.dataset_list(request.args.get("prefix", ""), limit=100), lambda each: each)
    return render_template("datasets/index.html", datasets=list(found))


@datasets.get("/datasets/<owner>/<name>")
def show(owner: str, name: str) -> str:
    """Show a dataset, as it is or was."""
    subject = requests.dataset_id(owner, name)
    require_read(subject)
    found = service().store.dataset_read(subject, request.args.get("revision"))
    return render_template("datasets/show.html", dataset=found)
