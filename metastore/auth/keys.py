"""Keys that tokens are signed with: PEM (RFC 7468), JSON Web Key Sets (RFC 7517) and shared secrets.

A key is used with the algorithms of one family alone, which its own kind decides and never the token: otherwise a
public key could be taken for a secret that everybody knows (RFC 8725, 2.1).
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from metastore.errors import InvalidInput, needs_extra

_SECRET = ("HS256", "HS384", "HS512")
_RSA = (("RS256", "RS384", "RS512"), ("PS256", "PS384", "PS512"))
_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
#: All that a key can be used with, in the words of JWA (RFC 7518).
ALGORITHMS = (*_SECRET, *_RSA[0], *_RSA[1], *_CURVES.values(), "EdDSA")
#: As long as the hash of HS256 (RFC 7518, 3.2), in bytes.
SHORTEST_SECRET = 32
_SHORTEST_RSA = 2048  # bits: RFC 7518, 3.3
_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)
_log = logging.getLogger("metastore.auth.tokens")


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


def pyjwt() -> Any:
    """Return PyJWT, loaded on first use.

    Raises:
        InvalidInput: It is not installed; the message says what to install.
    """
    with needs_extra("web"):
        import jwt
    return jwt


def parse_keys(content: str, algorithms: Sequence[str] = ()) -> tuple[Key, ...]:
    """Read the public keys of a text: PEM blocks, or a key set as JSON.

    Args:
        content: One block or more, or a key set. Keys in a set that cannot be used are passed over.
        algorithms: Use them with these alone; otherwise with all of the first family that fits.

    Raises:
        InvalidInput: It holds no public key, or one that is too weak.
    """
    if content.lstrip().startswith("{"):
        return _parse_key_set(content, algorithms)
    blocks = list(_BLOCK.finditer(content))
    if not blocks:
        raise InvalidInput("there is no public key in it, neither as PEM (-----BEGIN PUBLIC KEY-----) nor a key set")
    return tuple(_parse_block(block[1], block[0], algorithms) for block in blocks)


def secret_key(secret: str, algorithms: Sequence[str] = ()) -> Key:
    """Take a shared secret, for as strong algorithms as it is long enough for.

    Raises:
        InvalidInput: It is too short, or looks like a key of another kind.
    """
    size = len(secret.encode())
    if size < SHORTEST_SECRET:
        raise InvalidInput(f"a shared secret has {SHORTEST_SECRET} bytes or more, this one has {size}")
    if secret.startswith(("-----BEGIN ", "ssh-")):
        raise InvalidInput("this is a key and no shared secret: others may know its public half")
    strong = tuple(name for name in _SECRET if size >= int(name[2:]) // 8)
    return Key(_chosen((strong,), algorithms, "a shared secret"), secret.encode())


def check_key_url(url: str) -> str:
    """Make sure that keys can be fetched from there.

    Raises:
        InvalidInput: They cannot.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise InvalidInput("this is no URL such as https://ckan.example.org/authz/public_key") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not url.isascii() or not url.isprintable():
        raise InvalidInput("this is no URL such as https://ckan.example.org/authz/public_key")
    if "@" in parts.netloc:
        raise InvalidInput("public keys need no password: leave user and password out of the URL")
    return url


def _parse_block(label: str, text: str, algorithms: Sequence[str]) -> Key:
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    if "PRIVATE" in label:
        raise InvalidInput("this is a private key: tokens are checked with the public one, which is all we should know")
    if "PUBLIC KEY" not in label:
        raise InvalidInput(f"a public key begins with -----BEGIN PUBLIC KEY-----, not with {label}")
    try:
        value = load_pem_public_key(text.encode())
    except Exception:  # cryptography names no set of errors, and what it says may quote the key
        raise InvalidInput("its PEM block is damaged, or of a kind that is not known") from None
    return _public_key(value, algorithms)


def _parse_key_set(content: str, algorithms: Sequence[str]) -> tuple[Key, ...]:
    try:
        listed = json.loads(content)["keys"]
    except (ValueError, KeyError, TypeError, RecursionError):
        listed = None
    if not isinstance(listed, list):
        raise InvalidInput('a key set is JSON such as {"keys": [{"kty": "RSA", …}]}')
    return tuple(key for each in listed if (key := _parse_jwk(each, algorithms)))


def _parse_jwk(jwk: object, algorithms: Sequence[str]) -> Key | None:
    """Return a key of a set; None for one of another use, a weak one, or a secret, which all could read there."""
    jwt = pyjwt()
    makers = {"RSA": "RSAAlgorithm", "EC": "ECAlgorithm", "OKP": "OKPAlgorithm"}
    if not isinstance(jwk, Mapping) or not _signs(jwk):
        return None
    try:
        value = getattr(jwt.algorithms, makers[jwk["kty"]]).from_jwk(json.dumps(dict(jwk)))
        key = _public_key(value, algorithms, alg=jwk.get("alg"))
    except (jwt.PyJWTError, ValueError, KeyError, TypeError) as error:
        _log.warning("a key of the set is passed over: %s", error if isinstance(error, InvalidInput) else "unreadable")
        return None
    kid = jwk.get("kid")
    return Key(key.algorithms, key.value, kid if isinstance(kid, str) else None)


def _signs(jwk: Mapping[str, Any]) -> bool:
    uses = jwk.get("key_ops", ["verify"])
    return jwk.get("use", "sig") == "sig" and isinstance(uses, list) and "verify" in uses


def _public_key(value: Any, algorithms: Sequence[str], alg: object = None) -> Key:
    from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

    families: Iterable[tuple[str, ...]] = ()
    if isinstance(value, rsa.RSAPublicKey):
        if value.key_size < _SHORTEST_RSA:
            raise InvalidInput(f"an RSA key has {_SHORTEST_RSA} bits or more, this one has {value.key_size}")
        families = _RSA
    elif isinstance(value, ec.EllipticCurvePublicKey):
        families = ((_CURVES.get(value.curve.name, ""),),)
    elif isinstance(value, (ed25519.Ed25519PublicKey, ed448.Ed448PublicKey)):
        families = (("EdDSA",),)
    if alg is not None:
        families = [tuple(name for name in family if name == alg) for family in families]
    return Key(_chosen(families, algorithms, "this kind of key"), value)


def _chosen(families: Iterable[tuple[str, ...]], algorithms: Sequence[str], what: str) -> tuple[str, ...]:
    """Return the algorithms of one family: the one that is named first, or the first that there is."""
    wanted = algorithms or ALGORITHMS
    found = [[name for name in wanted if name in family] for family in families]
    found = sorted((names for names in found if names), key=lambda names: wanted.index(names[0]))
    if not found:
        raise InvalidInput(f"{what} fits none of the algorithms {', '.join(wanted)}")
    return tuple(found[0])
