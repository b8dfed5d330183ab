"""Icons, drawn for these pages on a grid of 24 by 24. They say nothing that the text beside them does not say."""

from __future__ import annotations

from markupsafe import Markup

_PATHS = {
    "bundle": "m4 8 8-4 8 4v8l-8 4-8-4V8Zm0 0 8 4 8-4m-8 4v8",
    "check": "m5 12.5 5 5L19 7",
    "compare": "M8 4 4 8l4 4M4 8h13m-1 4 4 4-4 4m4-4H7",
    "copy": "M9 9h11v11H9V9Zm-4 6H4V4h11v1",
    "dataset": "M4 6c0-1.7 3.6-3 8-3s8 1.3 8 3-3.6 3-8 3-8-1.3-8-3Zm0 0v12c0 1.7 3.6 3 8 3s8-1.3 8-3V6"
    "M4 12c0 1.7 3.6 3 8 3s8-1.3 8-3",
    "device": "M7 7h10v10H7V7Zm3-4v4m4-4v4m-4 10v4m4-4v4M3 10h4m-4 4h4m10-4h4m-4 4h4",
    "download": "M12 4v11m-5-5 5 5 5-5M5 20h14",
    "edit": "m4 20 1-4L16 5l3 3L8 19l-4 1Zm9.5-12.5 3 3",
    "file": "M6 3h8l4 4v14H6V3Zm8 0v4h4",
    "history": "M12 7v5l3.5 2M12 3a9 9 0 1 1 0 18 9 9 0 0 1 0-18Z",
    "move": "M5 12h13m-5-6 6 6-6 6",
    "person": "M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8Zm-8 8c1-4 4-6 8-6s7 2 8 6",
    "plus": "M12 5v14m-7-7h14",
    "search": "M10.5 4a6.5 6.5 0 1 1 0 13 6.5 6.5 0 0 1 0-13Zm5 11.5L20 20",
    "tag": "M4 5v6l9 9 7-7-9-9H5a1 1 0 0 0-1 1Zm4.5 3.5h.01",
    "trash": "M5 7h14m-9 4v6m4-6v6M9 7V4h6v3M7 7l1 13h8l1-13",
    "undo": "M8 5 4 9l4 4M4 9h10a5.5 5.5 0 0 1 0 11h-4",
    "warning": "M12 4 2.5 20h19L12 4Zm0 6v4m0 3h.01",
}


def icon(name: str) -> Markup:
    """Return an icon as SVG, hidden from screen readers."""
    return Markup('<svg class="icon" viewBox="0 0 24 24" aria-hidden="true"><path d="{}"/></svg>').format(_PATHS[name])
