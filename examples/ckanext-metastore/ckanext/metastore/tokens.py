"""Tokens for MetaStore's service, one per user, signed by the portal."""

from __future__ import annotations

import time
from functools import lru_cache

import metastore

#: The scopes of every token. CKAN's own rules have decided before what the user may do. `import` is among them because
#: a change that has waited is recorded with the time when it was made.
SCOPES = "ds:*:read,list,create,update,patch,delete,purge,import"
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

    def token_for(self, user: str, author: metastore.Author) -> str:
        """Return a token for a user of CKAN; the same one for some minutes.

        Args:
            user: The name of the user; empty for the portal itself.
            author: The user, as revisions name the author.

        Raises:
            metastore.InvalidInput: The key is none to sign with.
        """
        who = (user or "ckan", author.name, author.email)
        return _sign(self._key, self._issuer, who, int(time.time()) // USED)


@lru_cache(1024)
def _sign(key: str, issuer: str, who: tuple[str, str, str], period: int) -> str:
    import jwt

    begin, claims = period * USED, dict(zip(("sub", "name", "email"), who, strict=True))
    claims |= {"iss": issuer, "scopes": SCOPES, "nbf": begin - 60, "exp": begin + USED + LIFE}
    try:
        return jwt.encode(claims, key, algorithm="RS256")
    except (ValueError, TypeError, NotImplementedError, jwt.PyJWTError) as error:  # the last: no `cryptography`
        raise metastore.InvalidInput(f"ckanext.metastore.signing_key cannot sign: {type(error).__name__}") from None
