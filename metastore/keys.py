"""Keys that tokens are signed with, and where they come from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Key:
    """A key with the algorithms it may be used with, all of one family.

    Attributes:
        algorithms: Their names in JWA (RFC 7518), such as RS256.
        value: The key as PyJWT takes it.
        kid: What tokens call it, or None.
    """

    algorithms: tuple[str, ...]
    value: Any = field(repr=False)
    kid: str | None = None


class KeySource(Protocol):
    """Where keys come from."""

    def keys(self) -> tuple[Key, ...]:
        """Return the keys that count now."""

    def refresh(self) -> bool:
        """Look again, because no key fitted a token; tell whether there are other keys now."""
