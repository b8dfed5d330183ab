"""Tokens: who sent them is known, or they are refused."""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from metastore.auth.access import allows, parse_scopes
from metastore.auth.key_sources import FileKeys, GivenKeys, UrlKeys
from metastore.auth.keys import ALGORITHMS, parse_keys, secret_key
from metastore.auth.tokens import LONGEST, Verifier, issue
from metastore.errors import AuthenticationError, InvalidInput, StorageUnavailable
from metastore.types import DatasetId

from .key_server import KeyServer, key_server

NOW = 1_700_000_000
CARS = DatasetId("physics", "cars")
SECRET = "s" * 64


@functools.cache
def private(kind: str, which: int = 1) -> Any:
    """Make a key; the same one each time it is asked for."""
    if kind[:2] in ("RS", "PS"):
        return rsa.generate_private_key(65537, 2048)
    if kind[:2] == "ES":
        return ec.generate_private_key({"256": ec.SECP256R1, "384": ec.SECP384R1, "512": ec.SECP521R1}[kind[2:]]())
    return ed25519.Ed25519PrivateKey.generate()


def pem(key: Any) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def private_pem(key: Any) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def jwk(key: Any, **members: Any) -> dict[str, Any]:
    makers = {"RSA": "RSAAlgorithm", "EC": "ECAlgorithm", "Ed2": "OKPAlgorithm"}
    maker = next(maker for prefix, maker in makers.items() if type(key).__name__.lstrip("_").startswith(prefix))
    return {**json.loads(getattr(jwt.algorithms, maker).to_jwk(key.public_key())), **members}


def key_set(*keys: dict[str, Any]) -> str:
    return json.dumps({"keys": keys})


CLAIMS = {"exp": NOW + 900, "nbf": NOW, "sub": "ann", "iss": "https://ckan.example.org", "name": "Ann Lee"}
SCOPES = {"scopes": "ds:physics/cars:read,update ds:physics/*:create"}


def signed(key: Any = None, algorithm: str = "RS256", headers: dict[str, Any] | None = None, **claims: Any) -> str:
    """Sign the usual claims, changed; a claim that is None is left out."""
    whole = {name: value for name, value in {**CLAIMS, **SCOPES, **claims}.items() if value is not None}
    return jwt.encode(whole, key or private("RS"), algorithm, headers)


def by_hand(payload: str, head: str = '{"alg": "HS256"}', secret: bytes = SECRET.encode()) -> str:
    """Sign any bytes at all with HS256."""
    parts = [base64.urlsafe_b64encode(part.encode("utf-8", "surrogatepass")).rstrip(b"=") for part in (head, payload)]
    mac = hmac.new(secret, b".".join(parts), hashlib.sha256).digest()
    return b".".join([*parts, base64.urlsafe_b64encode(mac).rstrip(b"=")]).decode()


def verifier(*keys: str, **options: Any) -> Verifier:
    given = GivenKeys(*[key for text in keys or (pem(private("RS")),) for key in parse_keys(text)])
    return Verifier([given], clock=lambda: NOW, **options)


def with_secret(**options: Any) -> Verifier:
    return Verifier([GivenKeys(secret_key(SECRET))], clock=lambda: NOW, **options)


def refused(token: Any, by: Verifier | None = None) -> str:
    with pytest.raises(AuthenticationError) as caught:
        (by or verifier()).identify(token)
    assert not caught.value.missing
    assert str(caught.value).isprintable()
    assert '"' not in str(caught.value)
    return str(caught.value)


# What counts


def test_a_token_as_ckan_issues_it_is_known() -> None:
    token = signed()
    assert "kid" not in jwt.get_unverified_header(token)
    identity = verifier(issuer=CLAIMS["iss"]).identify(token)
    assert (identity.user, identity.name, identity.email) == ("ann", "Ann Lee", None)
    assert identity.scopes == parse_scopes(SCOPES["scopes"])
    assert not identity.anonymous


def test_a_token_of_ckan_without_a_user_reads_and_writes_nothing() -> None:
    payload = {**CLAIMS, **SCOPES, "sub": None, "name": None}
    identity = with_secret().identify(by_hand(json.dumps(payload)))
    assert (identity.user, identity.name) == (None, None)
    assert allows(identity, "read", CARS)
    assert not allows(identity, "update", CARS)


def test_a_token_with_all_that_ckan_can_be_asked_to_say_is_known() -> None:
    said = {"aud": "metastore", "email": "ann@example.org", "jti": '\t\x0b\r\n\x0c"\\~'}  # any of string.printable
    token = jwt.encode({**CLAIMS, **SCOPES, **said}, SECRET, "HS256")
    identity = with_secret(audience="metastore", issuer=CLAIMS["iss"]).identify(token)
    assert (identity.user, identity.name, identity.email) == ("ann", "Ann Lee", "ann@example.org")


def test_a_token_without_scopes_counts_and_may_do_nothing() -> None:
    assert verifier().identify(signed(scopes="")).scopes == ()
    assert verifier().identify(signed(scopes=None)).user == "ann"


@pytest.mark.parametrize("claim", ["scopes", "scope", "scp"])
@pytest.mark.parametrize("value", ["ds:a/b:read ds:a/c:update", ["ds:a/b:read", "ds:a/c:update"]])
def test_scopes_come_in_any_of_three_claims(claim: str, value: object) -> None:
    expected = parse_scopes("ds:a/b:read ds:a/c:update")
    assert verifier().identify(signed(**{"scopes": None, claim: value})).scopes == expected


def test_a_text_of_scopes_is_not_one_scope() -> None:
    identity = verifier().identify(signed(scopes="ds:physics/cars:read ds:physics/*:create"))
    assert not allows(identity, "update", CARS)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_each_algorithm_counts_for_a_key_of_its_kind_alone(algorithm: str) -> None:
    if algorithm.startswith("HS"):
        good, bad, key = Verifier([GivenKeys(secret_key(SECRET))], clock=lambda: NOW), verifier(), SECRET
    else:
        key = private(algorithm)
        good = Verifier([GivenKeys(*parse_keys(pem(key), [algorithm]))], clock=lambda: NOW)
        bad = with_secret()
    token = signed(key, algorithm)
    assert good.identify(token).user == "ann"
    assert "none of the keys" in refused(token, bad)


def test_several_keys_count_at_once() -> None:
    old, new = private("RS", 1), private("RS", 2)
    both = verifier(pem(old) + pem(new) + pem(private("ES256")))
    for key, algorithm in ((old, "RS256"), (new, "RS256"), (private("ES256"), "ES256")):
        assert both.identify(signed(key, algorithm)).user == "ann"


def test_a_kid_chooses_the_key_and_a_key_without_one_is_tried() -> None:
    one, two = private("RS", 1), private("RS", 2)
    keys = verifier(key_set(jwk(one, kid="one"), jwk(two, kid="two")))
    assert keys.identify(signed(two, headers={"kid": "two"})).user == "ann"
    assert keys.identify(signed(two)).user == "ann"
    assert "none of the keys" in refused(signed(two, headers={"kid": "one"}), keys)
    assert verifier().identify(signed(headers={"kid": "anything"})).user == "ann"


def test_the_user_and_the_scopes_come_from_the_claims_that_are_named() -> None:
    named = verifier(user_claim="preferred_username", scope_claims=["rights"], default_owner="physics")
    identity = named.identify(signed(preferred_username="bo", rights=["ds:cars:update"]))
    assert identity.user == "bo"
    assert identity.scopes == parse_scopes("ds:physics/cars:update")


def test_roles_of_an_oidc_provider_become_scopes() -> None:
    mapping = {
        "groups": {"editors": "ds:physics/*:create,read,update", "readers": ["ds:physics/*:read"]},
        "realm_access.roles": {"admin": "ds:*"},
        "https://example.org/role": {"curator": "ds:a/b:update"},
    }
    mapped = verifier(mapping=mapping)
    assert mapped.identify(signed(scopes=None, groups=["staff", "editors"])).scopes == parse_scopes(
        "ds:physics/*:create,read,update"
    )
    assert mapped.identify(signed(scopes=None, groups="readers")).scopes == parse_scopes("ds:physics/*:read")
    nested = signed(scopes=None, realm_access={"roles": ["admin", 7, None]})
    assert mapped.identify(nested).scopes == parse_scopes("ds:*")
    assert mapped.identify(signed(**{"https://example.org/role": "curator", "scopes": None})).scopes
    for nothing in ({"groups": "edit"}, {"groups": {"editors": 1}}, {"realm_access": "roles"}, {"realm_access": [1]}):
        assert mapped.identify(signed(scopes=None, **nothing)).scopes == ()


def test_a_mapping_to_a_scope_that_grants_nothing_is_a_mistake() -> None:
    for wrong in ("ds:physics/*:", "fly", [], 7, [7], ""):
        with pytest.raises(InvalidInput):
            verifier(mapping={"groups": {"editors": wrong}})


@pytest.mark.parametrize("sub", [7, "", ["ann"], {"a": 1}, "ann\nroot", "a\0", "a" * 1001, "\ud800", True])
def test_a_subject_that_is_no_name_is_nobody(sub: object) -> None:
    assert with_secret().identify(by_hand(json.dumps({**CLAIMS, "sub": sub}))).user is None


def test_clocks_may_differ_a_little() -> None:
    assert verifier().identify(signed(exp=NOW - 9, nbf=NOW - 900)).user == "ann"
    assert verifier().identify(signed(nbf=NOW + 9)).user == "ann"


# What is refused


def test_a_token_without_signature_is_refused() -> None:
    assert "not signed" in refused(jwt.encode({**CLAIMS, **SCOPES}, None, "none"))
    head, payload, _ = signed().split(".")
    assert "none of the keys" in refused(f"{head}.{payload}.")


@pytest.mark.parametrize("algorithm", ["none", "None", "nOnE", "", "HS1", "RS256 ", None, 7, ["RS256"], {}])
def test_an_algorithm_that_is_none_is_refused(algorithm: object) -> None:
    assert "algorithm" in refused(by_hand(json.dumps(CLAIMS), json.dumps({"alg": algorithm})), with_secret())


def test_a_public_key_is_no_secret() -> None:
    text = pem(private("RS"))
    for secret in (text, text.strip(), text + "\n", pem(private("ES256"))):
        forged = by_hand(json.dumps({**CLAIMS, **SCOPES}), secret=secret.encode())
        assert "none of the keys" in refused(forged, verifier(text, pem(private("ES256"))))


def test_another_key_is_refused() -> None:
    assert "none of the keys" in refused(signed(private("RS", 2)))


def test_another_algorithm_of_the_same_key_is_refused() -> None:
    assert "none of the keys" in refused(signed(algorithm="PS256"))
    only = Verifier([GivenKeys(*parse_keys(pem(private("RS")), ["RS512"]))], clock=lambda: NOW)
    assert "none of the keys" in refused(signed(algorithm="RS256"), only)
    assert only.identify(signed(algorithm="RS512")).user == "ann"


def test_a_changed_token_is_refused() -> None:
    head, payload, signature = signed(scopes="ds:physics/cars:read").split(".")
    richer = signed(private("RS", 2), scopes="ds:*").split(".")[1]
    assert "none of the keys" in refused(f"{head}.{richer}.{signature}")
    assert "none of the keys" in refused(f"{head}.{payload}.{signature[:-8]}AAAAAAAA")


def test_an_expired_token_is_refused_and_said_when() -> None:
    assert refused(signed(exp=NOW - 10, nbf=NOW - 900)) == "the token expired at 2023-11-14T22:13:10Z"


def test_a_token_for_later_is_refused() -> None:
    assert "not valid before 2023-11-14T22:13:31Z" in refused(signed(nbf=NOW + 11))
    assert "in the future" in refused(signed(iat=NOW + 11))


def test_a_token_that_never_expires_is_refused() -> None:
    assert "never expires" in refused(signed(exp=None))
    assert "never expires" in refused(by_hand(json.dumps({**CLAIMS, "exp": None})), with_secret())


@pytest.mark.parametrize("claim", ["exp", "nbf", "iat"])
@pytest.mark.parametrize(
    "value", ["soon", "1800000000", True, [], {}, -1, (NOW + 900) * 1000, 10**400, 1e300, "2099-01-01T00:00:00Z"]
)
def test_a_time_that_is_none_is_refused(claim: str, value: object) -> None:
    token = by_hand(json.dumps({**CLAIMS, claim: value}))
    assert f"the token's {claim} is not a number" in refused(token, with_secret())


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400"])
def test_a_time_that_json_does_not_know_is_refused(number: str) -> None:
    refused(by_hand(f'{{"exp": {number}, "sub": "ann"}}'), with_secret())


@pytest.mark.parametrize("iss", [None, "https://evil.example.org", "https://ckan.example.org/", ["x"], 7])
def test_another_issuer_or_none_is_refused(iss: object) -> None:
    payload = {**CLAIMS, "iss": iss} if iss else {key: value for key, value in CLAIMS.items() if key != "iss"}
    assert "not accepted here" in refused(by_hand(json.dumps(payload)), with_secret(issuer=CLAIMS["iss"]))


@pytest.mark.parametrize("aud", [None, "other", ["other"], [], "metastore2", {"metastore": 1}, [["metastore"]], "m"])
def test_another_audience_or_none_is_refused(aud: object) -> None:
    payload = {**CLAIMS, "aud": aud} if aud is not None else CLAIMS
    assert "another audience" in refused(by_hand(json.dumps(payload)), with_secret(audience="metastore"))


def test_an_audience_counts_alone_or_among_others_and_is_not_asked_for_unless_set() -> None:
    for aud in ("metastore", ["other", "metastore"]):
        assert verifier(audience="metastore").identify(signed(aud=aud)).user == "ann"
    assert verifier().identify(signed(aud="other")).user == "ann"


def test_a_five_part_scope_grants_nothing() -> None:
    assert verifier().identify(signed(scopes="ds:physics/cars:metadata:read:update ds:a:b:c:d:e")).scopes == ()


JUNK = ["", "x", "..", "a.b.c", ".b.c", "a..c", "a.b.c.d", "Bearer x", "é.b.c", "a.b.c\n", " ", "\0", "a.b.=", "=.=.="]


@pytest.mark.parametrize("token", [*JUNK, None, 7, b"a.b.c", ["a"], "\ud800.b.c"])
def test_junk_is_refused(token: object) -> None:
    refused(token)


@pytest.mark.parametrize("payload", ["[]", '"x"', "7", "null", "{", "", "[" * 3000, '{"a":' * 1500, '{"exp": 1e999}'])
def test_a_payload_that_is_no_object_is_refused(payload: str) -> None:
    refused(by_hand(payload), with_secret())


@pytest.mark.parametrize("head", ["[]", "null", "{", "[" * 3000, "7", '{"alg": NaN}', '{"typ": "JWT"}'])
def test_a_head_that_is_no_object_is_refused(head: str) -> None:
    refused(by_hand(json.dumps(CLAIMS), head), with_secret())


def test_what_is_said_twice_is_refused() -> None:
    twice = json.dumps(CLAIMS)[:-1] + ', "scopes": "ds:a/b:read", "scopes": "ds:*"}'
    assert "damaged" in refused(by_hand(twice), with_secret())
    assert "damaged" in refused(by_hand(json.dumps(CLAIMS), '{"alg": "none", "alg": "HS256"}'), with_secret())


@pytest.mark.parametrize("head", [{"crit": ["exp"]}, {"crit": []}, {"b64": False, "crit": ["b64"]}, {"b64": True}])
def test_an_extension_that_is_not_known_is_refused(head: dict[str, Any]) -> None:
    token = by_hand(json.dumps(CLAIMS), json.dumps({"alg": "HS256", **head}))
    assert "extension" in refused(token, with_secret())


@pytest.mark.parametrize("kid", [7, None, ["x"], {}, "x" * 5000])
def test_a_strange_kid_does_no_harm(kid: object) -> None:
    token = by_hand(json.dumps(CLAIMS), json.dumps({"alg": "HS256", "kid": kid}))
    try:
        assert with_secret().identify(token).user == "ann"
    except AuthenticationError:
        assert not isinstance(kid, str)


def test_a_token_that_is_too_long_is_refused_before_it_is_read() -> None:
    long = signed(filler="x" * 100_000)
    assert "too long" in refused(long)
    assert "too long" in refused("a" * (LONGEST + 1))
    assert verifier().identify(signed(filler="x" * 8000)).user == "ann"


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
_CLAIM_NAMES = ["exp", "nbf", "iat", "iss", "aud", "sub", "name", "email", "scopes", "scope", "groups", "a"]


@given(st.dictionaries(st.sampled_from(_CLAIM_NAMES), _JSON), st.dictionaries(st.sampled_from(["kid", "typ"]), _JSON))
def test_any_claim_counts_or_is_refused(claims: dict[str, Any], head: dict[str, Any]) -> None:
    by = with_secret(mapping={"groups": {"x": "ds:*"}, "a.b": {"x": "ds:*"}})
    token = by_hand(json.dumps({"exp": NOW + 1, **claims}), json.dumps({"alg": "HS256", **head}))
    with suppress(AuthenticationError):
        assert by.identify(token).user in (None, claims.get("sub"))


@given(st.text() | st.lists(st.text("aAz09-_=", max_size=12), max_size=4).map(".".join))
def test_any_text_that_nobody_signed_is_refused(text: str) -> None:
    refused(text, with_secret())


# Keys


def test_an_invalid_public_key_is_refused_and_not_quoted() -> None:
    weak = rsa.generate_private_key(65537, 1024)
    wrong = {
        "private key": private_pem(private("RS")),
        "no public key in it": "hunter2hunter2",
        "damaged": "-----BEGIN PUBLIC KEY-----\nhunter2\n-----END PUBLIC KEY-----",
        "not with OPENSSH KEY": "-----BEGIN OPENSSH KEY-----\nhunter2\n-----END OPENSSH KEY-----",
        "2048 bits": pem(weak),
        "fits none": pem(ec.generate_private_key(ec.SECP256K1())),
        "a key set is JSON": '{"hunter2": 1}',
    }
    for reason, text in wrong.items():
        with pytest.raises(InvalidInput, match=reason) as caught:
            parse_keys(text)
        assert "hunter2" not in str(caught.value)
    with pytest.raises(InvalidInput, match="fits none of the algorithms ES256"):
        parse_keys(pem(private("RS")), ["ES256"])


def test_a_secret_is_long_and_no_key() -> None:
    with pytest.raises(InvalidInput, match="32 bytes or more, this one has 31"):
        secret_key("x" * 31)
    with pytest.raises(InvalidInput, match="not a shared secret"):
        secret_key(pem(private("RS")))
    assert secret_key("x" * 32).algorithms == ("HS256",)
    assert secret_key("x" * 48).algorithms == ("HS256", "HS384")
    assert "xxx" not in repr(secret_key("x" * 32))


def test_the_algorithms_choose_one_family_for_a_key() -> None:
    text = pem(private("RS"))
    assert parse_keys(text)[0].algorithms == ("RS256", "RS384", "RS512")
    assert parse_keys(text, ["ES256", "PS256", "RS256"])[0].algorithms == ("PS256",)
    assert parse_keys(key_set(jwk(private("RS"), alg="PS384")))[0].algorithms == ("PS384",)


def test_a_key_set_passes_over_what_cannot_be_used() -> None:
    good = private("ES256")
    others = [
        {"kty": "oct", "k": base64.urlsafe_b64encode(SECRET.encode()).decode(), "alg": "HS256"},
        jwk(good, use="enc"),
        jwk(good, key_ops=["sign"]),
        jwk(good, key_ops="verify"),
        jwk(good, alg="HS256"),
        jwk(rsa.generate_private_key(65537, 1024)),
        {"kty": "RSA", "n": 7, "e": []},
        {"kty": "ABC"},
        {"kty": []},
        json.loads(jwt.algorithms.ECAlgorithm.to_jwk(good)),
        *(None, 7, "x", []),
    ]
    keys = parse_keys(json.dumps({"keys": [*others, jwk(good, kid=7)]}))
    assert [(key.algorithms, key.kid) for key in keys] == [(("ES256",), None)]


@pytest.mark.parametrize(
    "text", ["-----BEGIN A-----" * 15_000, '{"keys": [' + ",".join(["{}"] * 80_000) + "]}"], ids=["pem", "set"]
)
def test_the_longest_text_of_keys_without_any_is_refused_quickly(text: str, caplog: pytest.LogCaptureFixture) -> None:
    started = time.process_time()
    with pytest.raises(InvalidInput, match=r"no public key in it|80000 keys; at most 100 are allowed"):
        parse_keys(text)
    assert time.process_time() - started < 1
    assert not caplog.records


def test_a_hundred_keys_count_and_no_more() -> None:
    for text in (pem(private("RS")) * 100, key_set(*[jwk(private("RS"))] * 100)):
        assert len(parse_keys(text)) == 100
    for text in (pem(private("RS")) * 101, key_set(*[jwk(private("RS"))] * 101)):
        with pytest.raises(InvalidInput, match="it has 101 keys; at most 100 are allowed"):
            parse_keys(text)


def test_a_key_file_is_read_again_when_it_changes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "key.pem"
    path.write_text(pem(private("RS", 1)))
    known = Verifier([FileKeys(path)], clock=lambda: NOW)
    assert known.identify(signed(private("RS", 1))).user == "ann"
    replace(path, pem(private("RS", 2)))
    refused(signed(private("RS", 1)), known)
    assert known.identify(signed(private("RS", 2))).user == "ann"


def test_a_key_file_that_is_missing_or_broken_has_no_keys_until_it_is_mended(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "key.pem"
    path.write_text(pem(private("RS", 1)))
    # Two processes: the second one never sees the keys between.
    seeing, idle = (Verifier([FileKeys(path)], clock=lambda: NOW) for _ in range(2))
    replace(path, pem(private("RS", 2)))
    assert seeing.identify(signed(private("RS", 2))).user == "ann"
    for break_it in (lambda: replace(path, "rubbish"), lambda: path.write_bytes(b"\xff"), path.unlink):
        break_it()
        for known in (seeing, idle):
            for which in (1, 2):
                with pytest.raises(StorageUnavailable):
                    known.identify(signed(private("RS", which)))
        with pytest.raises(InvalidInput, match=r"key file .*key\.pem"):
            FileKeys(path)
    assert caplog.text.count("until the key file is mended") == 2 * 3
    beside = Verifier([file_keys_that_broke(path), GivenKeys(*parse_keys(pem(private("RS", 1))))], clock=lambda: NOW)
    assert beside.identify(signed(private("RS", 1))).user == "ann"  # keys from elsewhere count on
    replace(path, pem(private("RS", 2)))
    for known in (seeing, idle):
        assert known.identify(signed(private("RS", 2))).user == "ann"
        refused(signed(private("RS", 1)), known)


def file_keys_that_broke(path: Path) -> FileKeys:
    replace(path, pem(private("RS", 2)))
    keys = FileKeys(path)
    path.unlink()
    return keys


def test_a_verifier_tells_whether_the_key_of_a_token_still_counts(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_text(pem(private("RS", 1)))
    known = Verifier([FileKeys(path), GivenKeys(secret_key(SECRET))], clock=lambda: NOW)
    of_file = known.identify(signed(private("RS", 1))).key
    of_secret = known.identify(issue(SECRET, user="ann", scopes=["ds"], expires=timedelta(hours=1), now=NOW)).key
    assert of_file is not None
    assert of_secret is not None
    assert known.accepts(of_file)
    assert known.accepts(of_secret)
    replace(path, pem(private("RS", 2)))
    assert not known.accepts(of_file)
    path.unlink()
    assert not known.accepts(of_file)
    assert known.accepts(of_secret)
    replace(path, pem(private("RS", 1)))
    assert known.accepts(of_file)


def replace(path: Path, content: str) -> None:
    aside = path.with_suffix(".new")
    aside.write_text(content)
    os.replace(aside, path)


@pytest.fixture
def server() -> Iterator[KeyServer]:
    with key_server() as made:
        yield made


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_pem_from_a_url_is_fetched_once(server: KeyServer) -> None:
    server.answer(pem(private("RS")))
    known = Verifier([UrlKeys(server.url)], clock=lambda: NOW)
    assert server.asked == 0
    for _ in range(3):
        assert known.identify(signed()).user == "ann"
    assert server.asked == 1


@pytest.mark.parametrize("write", [pem, lambda key: key_set(jwk(key, kid="k"))], ids=["pem", "set"])
def test_a_new_key_is_found_when_it_is_used(server: KeyServer, write: Callable[[Any], str]) -> None:
    clock = Clock()
    server.answer(write(private("RS", 1)))
    known = Verifier([UrlKeys(server.url, clock=clock)], clock=lambda: NOW)
    known.identify(signed(private("RS", 1)))
    server.answer(write(private("RS", 2)))
    refused(signed(private("RS", 2)), known)  # fetched just now
    clock.now = 31
    assert known.identify(signed(private("RS", 2))).user == "ann"
    refused(signed(private("RS", 1)), known)


def test_made_up_tokens_do_not_make_us_fetch_again_and_again(server: KeyServer) -> None:
    clock = Clock()
    server.answer(key_set(jwk(private("RS", 1), kid="one")))
    known = Verifier([UrlKeys(server.url, clock=clock)], clock=lambda: NOW)
    for number in range(50):
        clock.now += 1
        refused(signed(private("RS", 2), headers={"kid": str(number)}), known)
    assert server.asked == 2
    refused(jwt.encode(CLAIMS, None, "none"), known)
    assert server.asked == 2


def test_keys_are_fetched_again_when_they_are_old(server: KeyServer) -> None:
    clock = Clock()
    server.answer(pem(private("RS", 1)))
    known = Verifier([UrlKeys(server.url, clock=clock)], clock=lambda: NOW)
    known.identify(signed(private("RS", 1)))
    server.answer(pem(private("RS", 2)))
    clock.now = 3601
    refused(signed(private("RS", 1)), known)


BAD_ANSWERS: dict[str, tuple[Any, ...]] = {
    "status 500": ("", 500),
    "status 404": ("", 404),
    "no public key": ("<html>", 200),
    "more than 262144 bytes": ("x" * 300_000, 200),
    "is not UTF-8 text": (b"\xff\xfe", 200),
    "a key set is JSON": ("{", 200),
}


@pytest.mark.parametrize("reason", BAD_ANSWERS)
def test_the_last_good_keys_survive_a_fetch_that_fails(
    server: KeyServer, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    server.answer(pem(private("RS")))
    known = Verifier([UrlKeys(server.url + "?key=hunter2", clock=clock)], clock=lambda: NOW)
    caplog.set_level("DEBUG")
    known.identify(signed())
    server.answer(*BAD_ANSWERS[reason])
    clock.now = 5000
    assert known.identify(signed()).user == "ann"
    assert reason in caplog.text
    assert "hunter2" not in caplog.text


@pytest.mark.parametrize("reason", BAD_ANSWERS)
def test_without_any_key_it_is_not_the_tokens_fault(server: KeyServer, reason: str) -> None:
    server.answer(*BAD_ANSWERS[reason])
    clock = Clock()
    known = Verifier([UrlKeys(server.url, clock=clock)], clock=lambda: NOW)
    for _ in range(5):
        with pytest.raises(StorageUnavailable, match=reason):
            known.identify(signed())
    assert server.asked == 1
    server.answer(pem(private("RS")))
    clock.now = 31
    assert known.identify(signed()).user == "ann"


def test_redirects_are_not_followed(server: KeyServer) -> None:
    with key_server() as other:
        other.answer(pem(private("RS")))
        server.answer("", 302, Location=other.url)
        with pytest.raises(StorageUnavailable, match="status 302"):
            Verifier([UrlKeys(server.url)], clock=lambda: NOW).identify(signed())
        assert other.asked == 0


def test_a_server_that_says_it_has_no_key_takes_the_keys_away(server: KeyServer) -> None:
    clock = Clock()
    server.answer(pem(private("RS")))
    known = Verifier([UrlKeys(server.url, clock=clock)], clock=lambda: NOW)
    known.identify(signed())
    for nothing in (("", 204), ('{"keys": []}', 200)):
        server.answer(*nothing)
        clock.now += 5000
        with pytest.raises(StorageUnavailable, match="has no key"):
            known.identify(signed())


def test_a_server_that_is_down_does_not_keep_other_keys_from_counting(server: KeyServer) -> None:
    server.answer("", 500)
    known = Verifier([UrlKeys(server.url), GivenKeys(*parse_keys(pem(private("RS"))))], clock=lambda: NOW)
    assert known.identify(signed()).user == "ann"
    with pytest.raises(StorageUnavailable):
        known.identify(signed(private("RS", 2)))


def test_nobody_listening_and_no_answer_are_said(server: KeyServer) -> None:
    server.open.clear()
    with pytest.raises(StorageUnavailable, match="in time"):
        UrlKeys(server.url, timeout=0.05).keys()
    with pytest.raises(StorageUnavailable, match="refused"):
        UrlKeys("http://127.0.0.1:9/keys").keys()


def test_others_go_on_while_one_fetches(server: KeyServer) -> None:
    clock = Clock()
    server.answer(pem(private("RS")))
    source = UrlKeys(server.url, clock=clock, timeout=60)
    before = source.keys()
    server.open.clear()
    clock.now = 5000
    slow = threading.Thread(target=source.keys)
    slow.start()
    while server.asked < 2:
        pass
    assert source.keys() == before  # while the other one waits
    assert not source.refresh()
    assert slow.is_alive()
    server.open.set()
    slow.join()
    assert server.asked == 2


def test_many_at_once_without_keys_fetch_once(server: KeyServer) -> None:
    server.answer(pem(private("RS")))
    source = UrlKeys(server.url)
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(len(source.keys()))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (found, server.asked) == ([1] * 8, 1)


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://x/y",
        "x",
        "",
        "https://",
        "http://u:hunter2@x/",
        "http://x:y/",
        "http://é/",
        "http://x/\n",
    ],
)
def test_a_url_that_keys_cannot_come_from_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        UrlKeys(url)
    assert "hunter2" not in str(caught.value)


def test_what_to_install_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jwt", None)
    with pytest.raises(InvalidInput, match=r"metastore-records\[web\]"):
        Verifier([])


# Our own tokens


def test_a_token_of_our_own_is_known() -> None:
    token = issue(
        SECRET,
        user="ann",
        scopes=["ds:physics/*:create,read", "ds:physics/cars:import"],
        expires=timedelta(days=1),
        now=NOW,
        name="Ann Lee",
        email="ann@example.org",
        issuer="here",
        audience="metastore",
        user_claim="uid",
    )
    identity = with_secret(issuer="here", audience="metastore", user_claim="uid").identify(token)
    assert str(identity.author) == "Ann Lee <ann@example.org>"
    assert allows(identity, "import", CARS)
    assert identity.user == "ann"
    refused(token, Verifier([GivenKeys(secret_key(SECRET))], clock=lambda: NOW + 86_411))


@pytest.mark.parametrize(
    "wrong",
    [
        *({"user": ""}, {"user": "a\nb"}, {"scopes": []}, {"scopes": ["ds:a/b:"]}, {"scopes": ["ds:a/b:read fly"]}),
        *({"expires": timedelta(0)}, {"expires": timedelta(days=3_650_000)}),
    ],
)
def test_a_token_that_would_not_count_is_not_issued(wrong: dict[str, Any]) -> None:
    good = {"user": "ann", "scopes": ["ds:a/b:read"], "expires": timedelta(hours=1), "now": NOW}
    with pytest.raises(InvalidInput):
        issue(SECRET, **{**good, **wrong})
