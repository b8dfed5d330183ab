"""A token's text -> who sent it: JSON Web Tokens (RFC 7519), as CKAN's authz-service and OIDC providers issue them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta

from metastore.access import Identity
from metastore.errors import AuthenticationError
from metastore.keys import KeySource

#: The longest token that is looked at, in characters.
LONGEST = 16_384


class Verifier:
    """Says who sent a token, or refuses it.

    Safe to share between threads and to use after a fork.

    Args:
        keys: Where the keys are that tokens are signed with; each is tried that fits.
        issuer: What the claim `iss` has to be; None to take any.
        audience: What the claim `aud` has to be or contain; None to take any.
        leeway: By how much clocks may differ, in seconds.
        user_claim: The claim that names the user.
        scope_claims: The claims that hold scopes; all of them count.
        mapping: Claim -> value -> scopes, for issuers that write roles or groups: a token whose claim is or contains
            the value is granted the scopes. A claim inside of another is named with dots: `realm_access.roles`.
        default_owner: Whose dataset an id without owner is, in a scope.
        clock: Seconds since 1970.
    """

    def __init__(
        self,
        keys: Iterable[KeySource],
        *,
        issuer: str | None = None,
        audience: str | None = None,
        leeway: float = 10,
        user_claim: str = "sub",
        scope_claims: Sequence[str] = ("scopes", "scope", "scp"),
        mapping: Mapping[str, Mapping[str, object]] | None = None,
        default_owner: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._keys = tuple(keys)
        self._issuer = issuer
        self._audience = audience
        self._leeway = leeway
        self._user_claim = user_claim
        self._scope_claims = tuple(scope_claims)
        self._mapping = mapping or {}
        self._default_owner = default_owner
        self._clock = clock

    def identify(self, token: str) -> Identity:
        """Return who sent a token.

        Raises:
            AuthenticationError: The token does not count; the message says why, and may be shown to whoever sent it.
            StorageUnavailable: The keys cannot be had from where they are: that is nothing the caller could mend.
        """
        raise AuthenticationError("no token is known yet")


def issue(
    secret: str,
    *,
    user: str,
    scopes: Sequence[str],
    expires: timedelta,
    now: float,
    name: str | None = None,
    email: str | None = None,
    issuer: str | None = None,
    audience: str | None = None,
) -> str:
    """Make a token that a `Verifier` with the same secret takes.

    Args:
        secret: The service's own key.
        user: The subject.
        scopes: What is granted, such as `ds:physics/*:create,read,update`.
        expires: From now, for how long it counts.
        now: Seconds since 1970.
        name: The user's name, for revisions.
        email: The user's address, for revisions.
        issuer: The claim `iss`, where the verifier asks for one.
        audience: The claim `aud`, where the verifier asks for one.

    Raises:
        InvalidInput: A scope grants nothing, or there is no user.
    """
    raise NotImplementedError
