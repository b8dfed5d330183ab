"""Keys that check tokens: PEM (RFC 7468), JSON Web Key Sets (RFC 7517) and shared secrets.

A key works with the algorithms of one family, which its own type decides and never the token. Otherwise a public key
could be used as a shared secret that everybody knows (RFC 8725, 2.1).
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from typing import Any

from metastore.errors import InvalidInput, needs_extra
from metastore.parse import split_url

_SECRET = ("HS256", "HS384", "HS512")
_RSA = (("RS256", "RS384", "RS512"), ("PS256", "PS384", "PS512"))
_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
#: All supported algorithms, by their names in JWA (RFC 7518).
ALGORITHMS = (*_SECRET, *_RSA[0], *_RSA[1], *_CURVES.values(), "EdDSA")
#: The length of the hash of HS256 (RFC 7518, 3.2), in bytes.
SHORTEST_SECRET = 32
_SHORTEST_RSA = 2048  # bits: RFC 7518, 3.3
#: A block ends before the next dashes: a search for its end from each beginning would take quadratic time.
_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----(?:(?!-----).)*+-----END \1-----", re.DOTALL)
#: The most keys of one source: each may be tried with each token.
_MOST_KEYS = 100
_log = logging.getLogger("metastore.auth.tokens")


@dataclass(frozen=True, slots=True)
class Key:
    """A key, with the algorithms of one family that it may be used with.

    Attributes:
        algorithms: Their names in JWA (RFC 7518), such as RS256.
        value: The key as PyJWT takes it.
        kid: The id by which tokens name the key, or None.
    """

    algorithms: tuple[str, ...]
    value: Any = field(repr=False)
    kid: str | None = None

    @property
    def fingerprint(self) -> str:
        """Return 32 hex digits that identify the key, the same in every process."""
        return hashlib.sha256(self.value if isinstance(self.value, bytes) else _der(self.value)).hexdigest()[:32]


def _der(public_key: Any) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    content: bytes = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return content


def pyjwt() -> Any:
    """Return PyJWT, loaded on first use.

    Raises:
        InvalidInput: PyJWT is not installed; the message says how to install it.
    """
    with needs_extra("web"):
        import jwt
    return jwt


def parse_keys(content: str, algorithms: Sequence[str] = ()) -> tuple[Key, ...]:
    """Parse public keys: PEM blocks, or a key set as JSON.

    Args:
        content: One PEM block or more, or a key set. Unusable keys in a set are skipped.
        algorithms: The algorithms to use the keys with; by default, all of the first family that fits.

    Raises:
        InvalidInput: There is no public key, one is too weak, or there are more than 100.
    """
    if content.lstrip().startswith("{"):
        return _parse_key_set(content, algorithms)
    blocks = list(_BLOCK.finditer(content))
    if not blocks:
        raise InvalidInput("there is no public key in it, neither as PEM (-----BEGIN PUBLIC KEY-----) nor as a key set")
    _limit_number(blocks)
    return tuple(_parse_block(block[1], block[0], algorithms) for block in blocks)


def _limit_number(listed: Sized) -> None:
    if len(listed) > _MOST_KEYS:
        raise InvalidInput(f"it has {len(listed)} keys; at most {_MOST_KEYS} are allowed")


def secret_key(secret: str, algorithms: Sequence[str] = ()) -> Key:
    """Make a key of a shared secret, for the algorithms that its length is enough for.

    Raises:
        InvalidInput: The secret is too short, or looks like a key of another type.
    """
    size = len(secret.encode())
    if size < SHORTEST_SECRET:
        raise InvalidInput(f"a shared secret has {SHORTEST_SECRET} bytes or more, this one has {size}")
    if secret.startswith(("-----BEGIN ", "ssh-")):
        raise InvalidInput("this is a key, not a shared secret: others may know its public half")
    strong = tuple(name for name in _SECRET if size >= int(name[2:]) // 8)
    return Key(_chosen((strong,), algorithms, "a shared secret"), secret.encode())


def check_key_url(url: str) -> str:
    """Check the URL of a key server, and return it.

    Raises:
        InvalidInput: It is not an http or https URL, or has a password.
    """
    parts = split_url(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or not url.isascii() or not url.isprintable():
        raise InvalidInput("this is not a URL such as https://ckan.example.org/authz/public_key")
    if "@" in parts.netloc:
        raise InvalidInput("public keys need no password: leave user and password out of the URL")
    return url


def _parse_block(label: str, text: str, algorithms: Sequence[str]) -> Key:
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    if "PRIVATE" in label:
        raise InvalidInput("this is a private key: use its public key, which is enough to check tokens")
    if "PUBLIC KEY" not in label:
        raise InvalidInput(f"a public key begins with -----BEGIN PUBLIC KEY-----, not with {label}")
    try:
        value = load_pem_public_key(text.encode())
    except Exception:  # cryptography documents no set of errors, and its messages may quote the key
        raise InvalidInput("its PEM block is damaged, or holds an unknown type of key") from None
    return _public_key(value, algorithms)


def _parse_key_set(content: str, algorithms: Sequence[str]) -> tuple[Key, ...]:
    try:
        listed = json.loads(content)["keys"]
    except (ValueError, KeyError, TypeError, RecursionError):
        listed = None
    if not isinstance(listed, list):
        raise InvalidInput('a key set is JSON such as {"keys": [{"kty": "RSA", …}]}')
    _limit_number(listed)
    return tuple(key for jwk in listed if (key := _parse_jwk(jwk, algorithms)))


def _parse_jwk(jwk: object, algorithms: Sequence[str]) -> Key | None:
    """Return a key of a set; None if it has another use, is weak, or is a secret, which anyone could read there."""
    jwt = pyjwt()
    makers = {"RSA": "RSAAlgorithm", "EC": "ECAlgorithm", "OKP": "OKPAlgorithm"}
    if not isinstance(jwk, Mapping) or not _signs(jwk):
        return None
    try:
        value = getattr(jwt.algorithms, makers[jwk["kty"]]).from_jwk(json.dumps(dict(jwk)))
        key = _public_key(value, algorithms, alg=jwk.get("alg"))
    except (jwt.PyJWTError, ValueError, KeyError, TypeError) as error:
        _log.warning("a key of the set is skipped: %s", error if isinstance(error, InvalidInput) else "unreadable")
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
    """Return the wanted algorithms of one family: the family whose algorithm is wanted first."""
    wanted = algorithms or ALGORITHMS
    usable = [[name for name in wanted if name in family] for family in families]
    usable = sorted((names for names in usable if names), key=lambda names: wanted.index(names[0]))
    if not usable:
        raise InvalidInput(f"{what} fits none of the algorithms {', '.join(wanted)}")
    return tuple(usable[0])
