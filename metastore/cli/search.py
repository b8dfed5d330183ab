"""`metastore search`."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

import click

from metastore.cli.base import App, say
from metastore.cli.options import TIME, Number, command
from metastore.cli.output import paint, show
from metastore.descriptor.openness import OPENNESS
from metastore.errors import InvalidInput
from metastore.search.values import FACETS, Hit, Results
from metastore.wording import spelled

#: What other systems take for a filter or an operator, and a search here for words.
_LIKE_AN_OPERATOR = re.compile(r"-?\w+:(?!//).+|AND|OR|NOT")
_ORDERS = click.Choice(["relevance", "changed", "id", "title"])


@click.group(hidden=True)
def _root() -> None:
    """Hold the command without a noun."""


@command(_root, "search", lists="id title changed deleted snippet")
@click.argument("words", nargs=-1)
@click.option("--owner", help="Only datasets of this owner.")
@click.option("--licence", help="Only with this licence; '' for none, as in every filter.")
@click.option("--keyword", help="Only with this keyword.")
@click.option("--resource-format", metavar="TEXT", help="Only with a resource of this format, such as csv.")
@click.option("--field", help="Only with a field (column) of this name.")
@click.option("--contributor", help="Only with this contributor.")
@click.option("--openness", type=click.Choice(OPENNESS), help="Only if all licences are open, one is not, or none.")
@click.option("--changed-since", type=TIME, metavar="TIME", help="Only datasets that changed then or later.")
@click.option("--deleted", is_flag=True, help="Search the last descriptors of deleted datasets instead.")
@click.option("--findings/--no-findings", default=None, help="Only datasets with, or without, findings of the check.")
@click.option("--at", type=TIME, metavar="TIME", help="Search the datasets as they were at this time.")
@click.option("--order", type=_ORDERS, default="relevance", help="The order. Default: the best match first.")
@click.option(
    "--facet", "facets", multiple=True, type=click.Choice(FACETS), help="Count the results by this; repeatable."
)
@click.option("--after", metavar="CURSOR", help="Begin at this cursor, which the previous page printed.")
@click.option("--limit", type=Number(1, 1000), default=20, help="The most hits to list.", show_default=True)
@click.option("--summary", is_flag=True, help="Print what the newest revision of each changed.")
def search(
    app: App,
    words: tuple[str, ...],
    resource_format: str | None,
    changed_since: datetime | None,
    at: datetime | None,
    **rest: Any,
) -> None:
    """Find datasets.

    WORDS may be anywhere in a descriptor. A dataset has to have all of them. Write '"two words"' for a phrase, 'salin*'
    for the beginning of a word, and 'sea -ice' to exclude a word. Accents and case do not count.

    Example: metastore search 'fast car*' --licence CC-BY-3.0 --facet keyword
    """
    if rest["facets"] and (app.format or app.fields):
        raise InvalidInput("--format and --fields are for the hits, and --facet is not: take --json for both")
    results = app.reader().dataset_search(
        " ".join(words), format=resource_format, changed_since=changed_since, at=at, **rest
    )
    if app.json and not (app.format or app.fields):
        app.data(results)
        return
    app.rows(results.hits, text=_lines)
    for facet, counts in results.facets.items():
        show("", facet, *(f"{each.count:7} {each.value}" for each in counts[:20]))
    _tell(results)
    plain = [word for word in words if _LIKE_AN_OPERATOR.fullmatch(word)]
    if plain and not results.total:
        say(f"{spelled(plain[0])} was searched for as text. Filters are options, such as --licence: see --help.")


def _lines(hit: Hit) -> list[str]:
    deleted = paint("  (deleted)", fg="red") if hit.deleted else ""
    lines = [f"{hit.id}  {paint(hit.title, bold=True)}{deleted}"]
    if hit.snippet:
        parts = enumerate(hit.snippet.split("**"))
        lines.append("    " + "".join(paint(part, fg="yellow") if marked % 2 else part for marked, part in parts))
    if hit.summary:
        lines.append(f"    {hit.changed:%Y-%m-%d}: {hit.summary}")
    return lines


def _tell(results: Results) -> None:
    count = f"More than {results.total:,}" if results.more_than_total else f"{results.total:,}"
    shown = f", of which {len(results.hits)} are shown" if len(results.hits) < results.total else ""
    noun = "dataset" if results.total == 1 and not results.more_than_total else "datasets"
    say(f"{count} {noun}{shown}." + (" There is no index here: all were read." if results.scanned else ""))
    if not results.complete:
        say("Some may be missing: there was no time to search all of them. Try again later.")
    if results.unreadable:
        names = ", ".join(map(str, results.unreadable[:5])) + (", …" if len(results.unreadable) > 5 else "")
        say(f"Not searched, since they cannot be read: {names}. `metastore verify` says why.", fg="yellow")
    if results.following:
        say(f"The next page: --after {results.following}")


COMMANDS = tuple(_root.commands.values())
