"""A token's text -> who sent it: JSON Web Tokens (RFC 7519), as CKAN's authz-service and OIDC providers issue them.

PyJWT checks signatures. What a token claims is checked here, strictly, with a clock that is passed in, and alike with
every version of PyJWT: the versions differ in what they check, and some refuse CKAN's tokens for their `"sub": null`.
"""

from __future__ import annotations

import base64
import binascii
import functools
import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from metastore.auth.access import (
    ALL_BUNDLES,
    Identity,
    check_scopes,
    parse_bundle_scopes,
    parse_scopes,
    scope_texts,
)
from metastore.auth.keys import ALGORITHMS, Key, pyjwt
from metastore.errors import AuthenticationError, InvalidInput, StorageUnavailable

if TYPE_CHECKING:
    from metastore.auth.key_sources import KeySource

#: The longest token that is looked at, in characters.
LONGEST = 16_384
_SHAPE = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")
_LAST = 253_402_300_799  # the end of the year 9999, in seconds: what is later was given in milliseconds
_LONGEST_NAME = 1000


class Verifier:
    """Says who sent a token, or refuses it. Safe to share between threads.

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

    Raises:
        InvalidInput: A scope of the mapping grants nothing, or PyJWT is not installed.
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
        pyjwt()  # that it is missing is said at the start, not at the first token
        self._sources = tuple(keys)
        self._issuer = issuer
        self._audience = audience
        self._leeway = leeway
        self._user_claim = user_claim
        self._scope_claims = tuple(scope_claims)
        self._default_owner = default_owner
        self._clock = clock
        self._mapping = {
            claim: {value: check_scopes(scopes, default_owner) for value, scopes in values.items()}
            for claim, values in (mapping or {}).items()
        }

    def identify(self, token: str) -> Identity:
        """Return who sent a token.

        Raises:
            AuthenticationError: The token does not count; the message says why, and may be shown to whoever sent it.
            StorageUnavailable: The keys cannot be had from where they are: nothing that the caller could mend.
        """
        if not isinstance(token, str) or not token:
            raise AuthenticationError("the token is empty")
        if len(token) > LONGEST:
            raise AuthenticationError(f"the token is too long: at most {LONGEST} characters are looked at")
        if not _SHAPE.fullmatch(token):
            raise AuthenticationError("this is no JSON Web Token in three parts")
        head = _read_json(_decode(token.partition(".")[0]))
        if "crit" in head or "b64" in head:
            raise AuthenticationError("the token asks for an extension that is not known here")
        if head.get("alg") not in ALGORITHMS:
            raise AuthenticationError("the token is not signed, or with an algorithm that is not known here")
        claims = _read_json(self._signed(token, head))
        self._check_times(claims)
        self._check_parties(claims)
        bundles = parse_bundle_scopes(list(self._scopes(claims)))
        return replace(self.person(claims), bundles=bundles, expires=_time(claims, "exp"))

    def person(self, claims: Mapping[str, Any]) -> Identity:
        """Return the person whom claims name that a provider or a proxy has checked.

        No scope limits which bundles they may change: they came without a token, and the groups file decides.
        """
        scopes = parse_scopes(list(self._scopes(claims)), self._default_owner)
        return Identity(
            _word(_find(claims, self._user_claim)),
            _line(claims.get("name")),
            _line(claims.get("email")),
            tuple(dict.fromkeys(scopes)),
            ALL_BUNDLES,
        )

    def _signed(self, token: str, head: Mapping[str, Any]) -> bytes:
        """Return what was signed.

        Raises:
            AuthenticationError: By none of the keys.
            StorageUnavailable: There is no telling, since keys are missing.
        """
        for last in (False, True):
            missing = None
            for source in self._sources:
                try:
                    payload = _verified(token, head, source.keys())
                except StorageUnavailable as error:
                    missing = error
                    continue
                if payload is not None:
                    return payload
            if last or not self._look_again():
                break
        if missing:
            raise missing
        raise AuthenticationError("the token is signed by none of the keys that count here")

    def _look_again(self) -> bool:
        found = [source.refresh() for source in self._sources]
        return any(found)

    def _check_times(self, claims: Mapping[str, Any]) -> None:
        now = self._clock()
        expires, begins, issued = (_time(claims, name) for name in ("exp", "nbf", "iat"))
        if expires is None:
            raise AuthenticationError("the token never expires (it has no exp), and so does not count")
        if now >= expires + self._leeway:
            raise AuthenticationError(f"the token expired at {_shown(expires)}")
        if begins is not None and now < begins - self._leeway:
            raise AuthenticationError(f"the token counts from {_shown(begins)} on")
        if issued is not None and now < issued - self._leeway:
            raise AuthenticationError(f"the token says that it was issued at {_shown(issued)}, which is to come")

    def _check_parties(self, claims: Mapping[str, Any]) -> None:
        if self._issuer is not None and claims.get("iss") != self._issuer:
            raise AuthenticationError("the token is from another issuer (iss) than the one that counts here")
        given = claims.get("aud")
        audiences = given if isinstance(given, list) else [given]
        if self._audience is not None and self._audience not in audiences:
            raise AuthenticationError("the token is meant for somebody else (aud)")

    def _scopes(self, claims: Mapping[str, Any]) -> Iterator[str]:
        """Return the scopes that claims carry, and those that the mapping adds for what they say."""
        for claim in self._scope_claims:
            yield from scope_texts(claims.get(claim))
        for claim, values in self._mapping.items():
            given = _find(claims, claim)
            for value in given if isinstance(given, list) else [given]:
                if isinstance(value, str):
                    yield from values.get(value, ())


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
    user_claim: str = "sub",
    default_owner: str | None = None,
) -> str:
    """Make a token that a `Verifier` with the same secret takes.

    Args:
        secret: The service's own key, 32 bytes or more.
        user: The subject.
        scopes: What is granted, such as `ds:physics/*:create,read,update` and `bundles:NOvA:write`.
        expires: From now, for how long it counts.
        now: Seconds since 1970.
        name: The user's name, for revisions.
        email: The user's address, for revisions.
        issuer: The claim `iss`, where the verifier asks for one.
        audience: The claim `aud`, where the verifier asks for one.
        user_claim: The claim that names the user, where the verifier looks for another than `sub`.
        default_owner: Whose dataset an id without owner is, in a scope.

    Raises:
        InvalidInput: A scope grants nothing, there is no user, or the time is none.
    """
    if not _word(user):
        raise InvalidInput("a token names a user: 1 to 1000 characters that can be printed")
    if expires <= timedelta(0) or now + expires.total_seconds() > _LAST:
        raise InvalidInput("a token expires later than now, and before the year 10000")
    check_scopes(list(scopes), default_owner)
    words = {"sub": user, "name": name, "email": email, "iss": issuer, "aud": audience, user_claim: user}
    claims: dict[str, Any] = {claim: word for claim, word in words.items() if word}
    claims |= {"scopes": " ".join(scopes), "iat": int(now), "exp": int(now + expires.total_seconds())}
    return str(pyjwt().encode(claims, secret, "HS256"))


def _verified(token: str, head: Mapping[str, Any], keys: Iterable[Key]) -> bytes | None:
    """Return what one of the keys signed, or None."""
    jwt = pyjwt()
    algorithm, kid = head.get("alg"), head.get("kid")
    for key in keys:
        if algorithm not in key.algorithms or not (kid is None or key.kid in (None, kid)):
            continue
        try:
            return bytes(_signatures().decode(token, key.value, algorithms=[algorithm]))
        except (jwt.PyJWTError, ValueError, TypeError):
            continue
    return None


@functools.cache
def _signatures() -> Any:
    return pyjwt().PyJWS()


def _decode(part: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except binascii.Error:
        raise AuthenticationError("the token is damaged") from None


def _read_json(content: bytes) -> dict[str, Any]:
    """Read a JSON object; one that says something twice is refused (RFC 7519, 4), as is what is no number in JSON."""
    try:
        value = _JSON.decode(content.decode())
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise AuthenticationError("the token is damaged")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    return found


def _no_number(text: str) -> None:
    raise ValueError


_JSON = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_no_number)


def _find(claims: Mapping[str, Any], name: str) -> Any:
    """Return a claim, or one inside of others that is named with dots; None where there is none."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _time(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= _LAST:
        raise AuthenticationError(f"the token's {name} is no number of seconds since 1970")
    return value


def _shown(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _word(value: Any) -> str | None:
    """Return a user's name exactly as it is, or None for what is none."""
    return value if isinstance(value, str) and value.isprintable() and 0 < len(value) <= _LONGEST_NAME else None


def _line(value: Any) -> str | None:
    """Return a text for people, on one line, or None."""
    return _word(" ".join(value.split())) if isinstance(value, str) else None
