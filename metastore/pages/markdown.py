"""Descriptions in Markdown (CommonMark), by anybody: what comes out of them is cleaned, and loads nothing."""

from __future__ import annotations

from functools import lru_cache

import nh3
from markdown_it import MarkdownIt
from markupsafe import Markup

#: No images: a page loads nothing from elsewhere. Headings of a description stand below the page's own.
_TAGS = {
    *("p", "br", "hr", "em", "strong", "code", "pre", "blockquote", "ul", "ol", "li", "a"),
    *("table", "thead", "tbody", "tr", "th", "td", "h3", "h4", "h5", "h6"),
}
_LONGEST = 100_000


@lru_cache(256)
def render(text: str) -> Markup:
    """Return Markdown as HTML that is safe to show; a text that is very long stays as it is."""
    if len(text) > _LONGEST:
        return Markup("<p>{}</p>").format(text)
    html = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    for level in (4, 3, 2, 1):  # h1 becomes h3, …, so that they go on where the page's own end
        html = html.replace(f"<h{level}>", f"<h{level + 2}>").replace(f"</h{level}>", f"</h{level + 2}>")
    clean = nh3.clean(
        html,
        tags=_TAGS,
        attributes={"a": {"href"}},
        url_schemes={"http", "https", "mailto"},
        link_rel="nofollow noopener noreferrer",
    )
    return Markup(clean)  # noqa: S704 - nh3 has cleaned it
