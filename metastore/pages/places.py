"""Places in a descriptor, in the language of the request."""

from __future__ import annotations

from metastore.pages.languages import gettext as _
from metastore.pages.languages import later

#: What the core calls the items of a descriptor's lists.
_NOUNS = (
    *(later("resource"), later("field"), later("licence"), later("contributor"), later("source"), later("keyword")),
    later("foreign key"),
)


def in_words(where: str) -> str:
    """Return a place that the core names, such as `resource stations › field lat`, in the language of the request."""
    steps = []
    for step in where.split(" › "):
        noun = next((noun for noun in _NOUNS if step.startswith(f"{noun} ")), "")
        steps.append(f"{_(noun)}{step[len(noun) :]}" if noun else step)
    return " › ".join(steps)
