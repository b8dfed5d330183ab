"""JSON Web Tokens (RFC 7519), as CKAN's authz-service and OIDC providers issue them, and the identities they carry.

PyJWT checks signatures only. Claims are checked here, since versions of PyJWT differ in their checks, and some refuse
CKAN's tokens for their `"sub": null`.
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
from metastore.phrase import Phrase

if TYPE_CHECKING:
    from metastore.auth.key_sources import KeySource

#: The longest token that is accepted, in characters.
LONGEST = 16_384
_SHAPE = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")
_LAST = 253_402_300_799  # the end of the year 9999, in seconds; a greater number is one of milliseconds
_LONGEST_NAME = 1000


class Verifier:
    """Checks tokens, and tells who sent them. Safe to share between threads.

    Args:
        keys: The sources of the keys. Each key that fits the token is tried.
        issuer: The required claim `iss`; None to accept any.
        audience: The value that the claim `aud` has to be or contain; None to accept any.
        leeway: The greatest difference between clocks, in seconds.
        user_claim: The claim that names the user.
        scope_claims: The claims that hold scopes; all of them count.
        mapping: Claim -> value -> scopes, for issuers that write roles or groups: a token whose claim is or contains
            the value gets the scopes. Dots name a claim inside another: `realm_access.roles`.
        default_owner: The owner of an id that names none, in a scope.
        clock: Returns seconds since 1970.

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
        pyjwt()  # fails now if it is missing, not at the first token
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
        """Return the sender of a token.

        Raises:
            AuthenticationError: The token is refused. The message gives the reason, and may be shown to the sender.
            StorageUnavailable: The keys cannot be fetched, which the sender cannot mend.
        """
        if not isinstance(token, str) or not token:
            raise AuthenticationError(Phrase("the token is empty"))
        if len(token) > LONGEST:
            raise AuthenticationError(
                Phrase("the token is too long: it may have at most %(most)s characters", most=LONGEST)
            )
        if not _SHAPE.fullmatch(token):
            raise AuthenticationError(Phrase("this is not a JSON Web Token of three parts"))
        head = _read_json(_decode(token.partition(".")[0]))
        if "crit" in head or "b64" in head:
            raise AuthenticationError(Phrase("the token requires an extension that is not supported"))
        if head.get("alg") not in ALGORITHMS:
            raise AuthenticationError(Phrase("the token is not signed, or with an algorithm that is not supported"))
        payload, key = self._signed(token, head)
        claims = _read_json(payload)
        self._check_times(claims)
        self._check_parties(claims)
        bundles = parse_bundle_scopes(list(self._scopes(claims)))
        return replace(self.person(claims), bundles=bundles, expires=_time(claims, "exp"), key=key.fingerprint)

    def accepts(self, fingerprint: str) -> bool:
        """Tell whether the key with this fingerprint is still accepted; an unavailable key is not."""
        return any(key.fingerprint == fingerprint for source in self._sources for key in _available(source))

    def person(self, claims: Mapping[str, Any]) -> Identity:
        """Return the person that claims name, which a provider or a proxy has checked.

        The groups file alone decides which bundles they may change, since they sent no token with scopes.
        """
        scopes = parse_scopes(list(self._scopes(claims)), self._default_owner)
        return Identity(
            _word(_find(claims, self._user_claim)),
            _line(claims.get("name")),
            _line(claims.get("email")),
            tuple(dict.fromkeys(scopes)),
            ALL_BUNDLES,
        )

    def _signed(self, token: str, head: Mapping[str, Any]) -> tuple[bytes, Key]:
        """Return the signed bytes of a token, and the key that signed them.

        Raises:
            AuthenticationError: None of the keys verifies the signature.
            StorageUnavailable: None of the keys at hand does, and others cannot be fetched.
        """
        for last in (False, True):
            missing = None
            for source in self._sources:
                try:
                    signed = _verified(token, head, source.keys())
                except StorageUnavailable as error:
                    missing = error
                    continue
                if signed is not None:
                    return signed
            if last or not self._look_again():
                break
        if missing:
            raise missing
        raise AuthenticationError(Phrase("the token is signed with none of the keys that are accepted here"))

    def _look_again(self) -> bool:
        changed = [source.refresh() for source in self._sources]  # a list, so that every source is asked
        return any(changed)

    def _check_times(self, claims: Mapping[str, Any]) -> None:
        now = self._clock()
        expires, begins, issued = (_time(claims, name) for name in ("exp", "nbf", "iat"))
        if expires is None:
            raise AuthenticationError(Phrase("the token never expires: it needs the claim exp"))
        if now >= expires + self._leeway:
            raise AuthenticationError(Phrase("the token expired at %(when)s", when=_shown(expires)))
        if begins is not None and now < begins - self._leeway:
            raise AuthenticationError(Phrase("the token is not valid before %(when)s", when=_shown(begins)))
        if issued is not None and now < issued - self._leeway:
            raise AuthenticationError(
                Phrase("the token claims to be issued at %(when)s, which is in the future", when=_shown(issued))
            )

    def _check_parties(self, claims: Mapping[str, Any]) -> None:
        if self._issuer is not None and claims.get("iss") != self._issuer:
            raise AuthenticationError(Phrase("the token is from an issuer (iss) that is not accepted here"))
        audience = claims.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        if self._audience is not None and self._audience not in audiences:
            raise AuthenticationError(Phrase("the token is for another audience (aud)"))

    def _scopes(self, claims: Mapping[str, Any]) -> Iterator[str]:
        """Yield the scopes that claims carry, and those that the mapping adds for them."""
        for claim in self._scope_claims:
            yield from scope_texts(claims.get(claim))
        for claim, values in self._mapping.items():
            content = _find(claims, claim)
            for value in content if isinstance(content, list) else [content]:
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
    """Make a token that a `Verifier` with the same secret accepts.

    Args:
        secret: The service's own key, 32 bytes or more.
        user: The subject.
        scopes: The granted scopes, such as `ds:physics/*:create,read,update` and `bundles:NOvA:write`.
        expires: The time from now until the token expires.
        now: The time, in seconds since 1970.
        name: The user's name, for revisions.
        email: The user's address, for revisions.
        issuer: The claim `iss`, if the verifier requires one.
        audience: The claim `aud`, if the verifier requires one.
        user_claim: The claim that names the user, if the verifier reads another than `sub`.
        default_owner: The owner of an id that names none, in a scope.

    Raises:
        InvalidInput: A scope grants nothing, the user is empty, or the time is out of range.
    """
    if not _word(user):
        raise InvalidInput("a token names a user: 1 to 1000 printable characters")
    if expires <= timedelta(0) or now + expires.total_seconds() > _LAST:
        raise InvalidInput("a token has to expire in the future, and before the year 10000")
    check_scopes(list(scopes), default_owner)
    words = {"sub": user, "name": name, "email": email, "iss": issuer, "aud": audience, user_claim: user}
    claims: dict[str, Any] = {claim: word for claim, word in words.items() if word}
    claims |= {"scopes": " ".join(scopes), "iat": int(now), "exp": int(now + expires.total_seconds())}
    return str(pyjwt().encode(claims, secret, "HS256"))


def _available(source: KeySource) -> tuple[Key, ...]:
    try:
        return source.keys()
    except StorageUnavailable:
        return ()


def _verified(token: str, head: Mapping[str, Any], keys: Iterable[Key]) -> tuple[bytes, Key] | None:
    """Return the bytes that one of the keys signed, with that key; or None."""
    jwt = pyjwt()
    algorithm, kid = head.get("alg"), head.get("kid")
    for key in keys:
        if algorithm not in key.algorithms or not (kid is None or key.kid in (None, kid)):
            continue
        try:
            return bytes(_signatures().decode(token, key.value, algorithms=[algorithm])), key
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
        raise AuthenticationError(Phrase("the token is damaged")) from None


def _read_json(content: bytes) -> dict[str, Any]:
    """Parse a JSON object. Duplicate names are refused (RFC 7519, 4), and so are NaN and Infinity."""
    try:
        value = _JSON.decode(content.decode())
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise AuthenticationError(Phrase("the token is damaged"))
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError
    return members


def _no_number(text: str) -> None:
    raise ValueError


_JSON = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_no_number)


def _find(claims: Mapping[str, Any], name: str) -> Any:
    """Return a claim, or one inside others whose name has dots; None if there is none."""
    if name in claims:
        return claims[name]
    claim: Any = claims
    for part in name.split("."):
        claim = claim.get(part) if isinstance(claim, dict) else None
    return claim


def _time(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= _LAST:
        raise AuthenticationError(Phrase("the token's %(name)s is not a number of seconds since 1970", name=name))
    return value


def _shown(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _word(value: Any) -> str | None:
    """Return a user's name unchanged, or None if the value is not one."""
    return value if isinstance(value, str) and value.isprintable() and 0 < len(value) <= _LONGEST_NAME else None


def _line(value: Any) -> str | None:
    """Return a name for people on one line, or None."""
    return _word(" ".join(value.split())) if isinstance(value, str) else None
