"""A tour of MetaStore on real data packages: `make run`, or `python examples/tour.py --store DIR`.

Every call is printed before it is made, by what is in `telling.py`. The calls are in `tour`.
"""

from __future__ import annotations

import argparse
import logging
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import click
from telling import Told, command, show, step

import metastore

CATALOGUE = Path(__file__).parent / "catalogue"
COLOURS = {"added": "green", "removed": "red", "changed": "yellow", "renamed": "cyan", "moved": "cyan"}


def git(*arguments: object) -> None:
    command = ["git", *map(str, arguments)]
    click.secho(f"  $ {shlex.join(command)}", fg="blue")
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    show(done.stdout.splitlines())


def tour(root: Path) -> None:
    step("A store is a folder. This one is new.")
    plain = metastore.connect(root, author="Ann Lee <ann@example.org>")
    store = Told("store", plain)
    click.secho(f"  >>> store = metastore.connect({str(root)!r}, author='Ann Lee <ann@example.org>')", fg="blue")

    files = sorted(CATALOGUE.glob("*/*/datapackage.json"))
    step(f"{len(files)} real data packages go in. Order of members and spelling of numbers stay as they are.")
    hidden = not sys.stderr.isatty()
    with click.progressbar(files, label="Storing", file=sys.stderr, hidden=hidden) as bar:
        made = [plain.dataset_create(f"{f.parent.parent.name}/{f.parent.name}", f.read_bytes()) for f in bar]
    click.secho("  >>> store.dataset_create(f'{owner}/{name}', file.read_bytes())  # for each", fg="blue")
    show(made)

    step("A tag gives a revision a name that people can cite.")
    show([store.tag_create("vega/datasets", "v3.2.1", description="As published on npm")])

    step("The check against the Data Package profile found three licence names that it does not allow.")
    show((finding for each in made for finding in each.findings), fg="yellow")

    step("Ann mends them. `expected` says which revision she looked at.")
    seen = store.dataset_read("vega/datasets")
    licences = {resource["name"]: resource.get("licenses") for resource in seen.descriptor["resources"]}
    licences["penguins"][0]["name"] = "CC0-1.0"
    licences["barley"][0] = {"name": "notspecified", "title": licences["barley"][0]["name"]}
    del licences["income"][0]["name"]
    why = "Name licences as the profile allows"
    show([store.dataset_update("vega/datasets", seen.descriptor, expected=seen.revision.id, message=why)])

    step("Bo looked at the same old revision. His change is refused, and Ann's is not lost.")
    try:
        store.dataset_patch("vega/datasets", {"title": "Vega"}, expected=seen.revision.id, author="Bo Li")
    except metastore.RevisionConflict as conflict:
        show([f"{type(conflict).__name__}: {conflict}"], fg="red")

    step("What is different from the tag, in words?")
    for change in store.revision_diff("vega/datasets", "v3.2.1").changes:
        show([change], fg=COLOURS[change.kind])

    step("Somebody empties a package by mistake. Reverting is a new revision; nothing is rewritten.")
    first = store.revision_read("okfn/compression")
    store.dataset_patch("okfn/compression", {"resources": []}, author="Bo Li <bo@example.org>", message="Tidy up")
    back = store.dataset_revert("okfn/compression", first.id, message="Bring the resources back")
    show([f"{len(back.descriptor['resources'])} resources again"])

    step("A deletion is a revision too: the dataset is gone, its history is not.")
    gone = store.dataset_delete("pandas/test-package", message="Not ours to publish")
    try:
        store.dataset_read("pandas/test-package")
    except metastore.DatasetDeleted as error:
        show([f"{type(error).__name__}: {error}"], fg="red")
    show([store.dataset_revert("pandas/test-package", gone.parent, message="It is: the licence allows it")])

    step("Who changed what, when and why?")
    for name in ("okfn/compression", "pandas/test-package"):
        show(store.revision_list(name))

    step("A dataset is a Git repository. Anybody can clone it and read the same story.")
    clone = root.parent / "clone"
    git("clone", "--quiet", root / "vega" / "datasets.git", clone)
    git("-C", clone, "log", "--format=%h %ad %an: %s%d", "--date=iso-local")
    show([f"the clone has {path.name}" for path in clone.iterdir() if path.is_file()])
    plain.close()

    step(f"The store is in {root}. Try next:")
    show(
        f"{command()} {words} --store {shlex.quote(str(root))}"
        for words in (
            "dataset list",
            "revision list vega/datasets",
            "revision diff vega/datasets v3.2.1 --unified",
            "verify",
        )
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", metavar="DIR", type=Path, help="a new folder for the store and the clone")
    folder: Path = parser.parse_args().store or Path(tempfile.mkdtemp(prefix="metastore-tour-"))
    if folder.exists() and any(folder.iterdir()):
        parser.error(f"{folder} is not empty: name a new folder")
    logging.getLogger("metastore").setLevel(logging.ERROR)  # the findings are shown where they are talked about
    tour(folder.absolute() / "store")
