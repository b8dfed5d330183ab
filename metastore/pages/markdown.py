"""Descriptions in Markdown (CommonMark). The HTML is sanitised and bounded in size, and loads nothing."""

from __future__ import annotations

import re
from collections import OrderedDict

import nh3
from markdown_it import MarkdownIt
from markupsafe import Markup

from metastore.forks import ForkSafeLock

#: No images, since a page loads nothing from elsewhere. A description's headings rank below the page's own.
_TAGS = {
    *("p", "br", "hr", "em", "strong", "code", "pre", "blockquote", "ul", "ol", "li", "a"),
    *("table", "thead", "tbody", "tr", "th", "td", "h3", "h4", "h5", "h6"),
}
#: Limits in characters: of the source, of the HTML, and of the cache.
_LONGEST, _LONGEST_HTML, _KEPT = 100_000, 500_000, 8_000_000
_PARSER = MarkdownIt("commonmark", {"html": False, "maxNesting": 20}).enable("table")
#: The definition of a link's target. Each use of its label repeats it, so a short text can become a long page.
_DEFINITION = re.compile(r"\]:([^\n]*(?:\n[^\n]+)*)")


class _Cache:
    """A cache of rendered texts, which drops the least recently used. Safe to share between threads."""

    def __init__(self, most: int) -> None:
        self._most, self._size = most, 0
        self._rendered: OrderedDict[str, Markup] = OrderedDict()
        self._lock = ForkSafeLock()

    def get(self, text: str) -> Markup | None:
        with self._lock:
            if text in self._rendered:
                self._rendered.move_to_end(text)
            return self._rendered.get(text)

    def put(self, text: str, html: Markup) -> None:
        with self._lock:
            if text in self._rendered:
                return
            self._rendered[text] = html
            self._size += len(text) + len(html)
            while self._size > self._most:
                old_text, old_html = self._rendered.popitem(last=False)
                self._size -= len(old_text) + len(old_html)


_cache = _Cache(_KEPT)


def render(text: str) -> Markup:
    """Return Markdown as safe HTML. A text whose HTML would be very long is shown as plain text."""
    html = _cache.get(text)
    if html is None:
        html = _rendered(text)
        _cache.put(text, html)
    return html


def _rendered(text: str) -> Markup:
    if len(text) > _LONGEST or _expanded(text) > _LONGEST_HTML:
        return Markup("<p>{}</p>").format(text)
    html = _PARSER.render(text)
    if len(html) > _LONGEST_HTML:
        return Markup("<p>{}</p>").format(text)
    for level in (4, 3, 2, 1):  # h1 becomes h3, and so on, below the page's own headings
        html = html.replace(f"<h{level}>", f"<h{level + 2}>").replace(f"</h{level}>", f"</h{level + 2}>")
    clean = nh3.clean(
        html,
        tags=_TAGS,
        attributes={"a": {"href"}},
        url_schemes={"http", "https", "mailto"},
        link_rel="nofollow noopener noreferrer",
    )
    return Markup(clean)  # noqa: S704 - nh3 has cleaned it


def _expanded(text: str) -> int:
    """Return an upper bound for the length that link references add to the HTML."""
    longest = max((len(match[1]) for match in _DEFINITION.finditer(text)), default=0)
    return longest * text.count("]") if longest else 0
