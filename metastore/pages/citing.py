"""Citations of a revision: as text, as BibTeX and as CSL-JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from metastore.pages.overview import Party
from metastore.types import DatasetId

_TEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
}
#: The longest list of authors that a citation names.
_MOST_AUTHORS = 50


@dataclass(frozen=True, slots=True)
class Citation:
    """The parts of a citation.

    Attributes:
        id: The dataset.
        title: Its title.
        authors: People and groups, in the descriptor's order.
        publisher: Empty if the descriptor names none.
        version: The name of a tag, or the `version` of the descriptor; may be empty.
        created: When the revision was made, in UTC.
        link: An address that always shows this revision.
    """

    id: DatasetId
    title: str
    authors: tuple[str, ...]
    publisher: str
    version: str
    created: datetime
    link: str

    @property
    def text(self) -> str:
        """The citation as DataCite recommends it: creators, year, title, version, publisher, address."""
        version = f"Version {self.version}. " if self.version else ""
        publisher = f"{self.publisher}. " if self.publisher else ""
        ends = "" if self.title.endswith((".", "!", "?")) else "."
        return (
            f"{_listed(self.authors)} ({self.created:%Y}): {self.title}{ends} {version}{publisher}Dataset. {self.link}"
        )

    @property
    def bibtex(self) -> str:
        """An entry for BibTeX. Names stand in braces, so that BibTeX does not take them apart."""
        fields = {
            "author": " and ".join(f"{{{_tex(author)}}}" for author in self.authors),
            "title": f"{{{_tex(self.title)}}}",
            "year": f"{self.created:%Y}",
            "version": _tex(self.version),
            "publisher": _tex(self.publisher),
            "howpublished": f"\\url{{{self.link}}}",
            "note": "Dataset",
        }
        lines = "".join(f"  {name} = {{{value}}},\n" for name, value in fields.items() if value)
        return f"@misc{{{self._key},\n{lines}}}"

    @property
    def csl(self) -> str:
        """The citation as CSL-JSON, which Zotero, Pandoc and others read."""
        fields = {
            "id": self._key,
            "type": "dataset",
            "title": self.title,
            "author": [{"literal": author} for author in self.authors],
            "issued": {"date-parts": [[self.created.year, self.created.month, self.created.day]]},
            "version": self.version,
            "publisher": self.publisher,
            "URL": self.link,
        }
        return json.dumps([{name: value for name, value in fields.items() if value}], ensure_ascii=False, indent=2)

    @property
    def _key(self) -> str:
        return re.sub(r"[^A-Za-z0-9]+", "_", f"{self.id}_{self.created:%Y}")


def authors_of(parties: Sequence[Party], dataset_id: DatasetId) -> tuple[str, ...]:
    """Return the authors to cite: authors and creators, else all contributors but publishers, else the owner."""
    authors = _with_role(parties, "author", "creator")
    others = [party.title for party in parties if party.detail != "publisher"]
    return tuple((authors or others or [dataset_id.owner])[:_MOST_AUTHORS])


def publisher_of(parties: Sequence[Party]) -> str:
    """Return the first contributor with the role of publisher; empty if there is none."""
    return next(iter(_with_role(parties, "publisher")), "")


def _with_role(parties: Sequence[Party], *roles: str) -> list[str]:
    return [party.title for party in parties if set(roles) & set(party.detail.lower().split(", "))]


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _tex(text: str) -> str:
    return "".join(_TEX.get(character, character) for character in " ".join(text.split()))
