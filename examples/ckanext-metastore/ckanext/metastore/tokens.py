"""Tokens for MetaStore's service, one per user, signed by the portal."""

from __future__ import annotations

import time
from functools import lru_cache

import metastore

#: What the portal may ask of the service; what a user may do has been decided by CKAN's own rules before.
SCOPES = "ds:*:read,list,create,update,patch,delete,purge"
#: How long a token lives, in seconds, and how long it is used.
LIFE, USED = 900, 600


class Signer:
    """Signs tokens (RFC 7519, RS256).

    Args:
        key: A private key, PEM text.
        issuer: Who signs: the portal's address.
    """

    def __init__(self, key: str, issuer: str) -> None:
        self._key, self._issuer = key, issuer

    def token_for(self, user: str | None, author: metastore.Author) -> str:
        """Return a token for a user of CKAN; the same one for some minutes.

        Args:
            user: His name; None for the portal itself, which may also say who did something, and when.
            author: As whom revisions name him.

        Raises:
            metastore.InvalidInput: The key is none to sign with.
        """
        scopes = SCOPES if user else f"{SCOPES},import"
        who = (user or "ckan", author.name, author.email)
        return _sign(self._key, self._issuer, who, scopes, int(time.time()) // USED)


@lru_cache(1024)
def _sign(key: str, issuer: str, who: tuple[str, str, str], scopes: str, period: int) -> str:
    import jwt

    begin, claims = period * USED, dict(zip(("sub", "name", "email"), who, strict=True))
    claims |= {"iss": issuer, "scopes": scopes, "nbf": begin - 60, "exp": begin + USED + LIFE}
    try:
        return jwt.encode(claims, key, algorithm="RS256")
    except (ValueError, TypeError, NotImplementedError, jwt.PyJWTError) as error:  # the last: no `cryptography`
        raise metastore.InvalidInput(f"ckanext.metastore.signing_key cannot sign: {type(error).__name__}") from None
