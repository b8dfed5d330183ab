"""`metastore search`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import click

from metastore.cli.base import App, say
from metastore.cli.options import TIME, command
from metastore.cli.output import paint, show
from metastore.search.values import FACETS, Hit, Results

_ORDERS = click.Choice(["relevance", "changed", "id", "title"])


@click.group(hidden=True)
def _root() -> None:
    """Hold the command without a noun."""


@command(_root, "search")
@click.argument("words", nargs=-1)
@click.option("--owner", help="Only datasets of this owner.")
@click.option("--licence", help="Only with this licence; '' for none, as in every filter.")
@click.option("--keyword", help="Only with this keyword.")
@click.option("--format", "format_", metavar="TEXT", help="Only with a resource of this format, such as csv.")
@click.option("--field", help="Only with a field (column) of this name.")
@click.option("--contributor", help="Only with this contributor.")
@click.option("--changed-since", type=TIME, metavar="TIME", help="Only those changed then or later.")
@click.option("--deleted", is_flag=True, help="Search the last descriptors of deleted datasets instead.")
@click.option("--findings/--no-findings", default=None, help="Only those with, or without, findings of a check.")
@click.option("--at", type=TIME, metavar="TIME", help="Search the datasets as they were at this time.")
@click.option("--order", type=_ORDERS, default="relevance", help="The order. Default: the best match first.")
@click.option(
    "--facet", "facets", multiple=True, type=click.Choice(FACETS), help="Count the results by this; repeatable."
)
@click.option("--after", metavar="CURSOR", help="The cursor of the next page, which each page prints.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, help="The most hits to list.", show_default=True)
def search(
    app: App,
    words: tuple[str, ...],
    format_: str | None,
    changed_since: datetime | None,
    at: datetime | None,
    **rest: Any,
) -> None:
    """Find datasets.

    WORDS may be anywhere in a descriptor. A dataset has to have all of them. Write '"two words"' for a phrase, 'salin*'
    for the beginning of a word, and 'sea -ice' to exclude a word. Accents and case do not count.

    Example: metastore search 'fast car*' --licence CC-BY-3.0 --facet keyword
    """
    results = app.reader().dataset_search(" ".join(words), format=format_, changed_since=changed_since, at=at, **rest)
    if app.json:
        app.data(results)
        return
    for hit in results.hits:
        show(*_lines(hit))
    for facet, counts in results.facets.items():
        show("")
        show(facet)
        for each in counts[:20]:
            show(f"{each.count:7} {each.value}")
    _tell(results)


def _lines(hit: Hit) -> Iterator[str]:
    deleted = paint("  (deleted)", fg="red") if hit.deleted else ""
    yield f"{hit.id}  {paint(hit.title, bold=True)}{deleted}"
    if hit.snippet:
        parts = enumerate(hit.snippet.split("**"))
        yield "    " + "".join(paint(part, fg="yellow") if marked % 2 else part for marked, part in parts)


def _tell(results: Results) -> None:
    count = f"More than {results.total:,}" if results.more_than_total else f"{results.total:,}"
    shown = f", of which {len(results.hits)} are shown" if len(results.hits) < results.total else ""
    noun = "dataset" if results.total == 1 and not results.more_than_total else "datasets"
    say(f"{count} {noun}{shown}." + (" There is no index here: all were read." if results.scanned else ""))
    if results.following:
        say(f"The next page: --after {results.following}")


COMMANDS = tuple(_root.commands.values())
