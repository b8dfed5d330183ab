"""Settings: from the environment, from a file, and what is made of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from metastore import config, web
from metastore.errors import AuthenticationError, InvalidInput, PermissionDenied, StorageUnavailable
from metastore.settings import NAMES, ServiceSettings

from .test_tokens import SECRET, jwk, key_set, pem, private, private_pem, signed

LATER = 4_000_000_000
#: What the service would permit more of if an empty value passed for none.
RESTRICTING = (
    *("public_read", "require_if_match", "jwt_algorithms", "jwt_issuer", "jwt_audience"),
    *("validation", "version_rule", "max_bytes", "durable", "rate_at_once"),
)


def service(**variables: str) -> ServiceSettings:
    return config.load({f"METASTORE_{name}": value for name, value in variables.items()}).service


def from_file(path: Path, text: str, **variables: str) -> config.Settings:
    path.write_text(text)
    return config.load(
        {"METASTORE_CONFIG": str(path), **{f"METASTORE_{name}": each for name, each in variables.items()}}
    )


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_nothing_set_is_open_for_reading_alone() -> None:
    settings = config.load({})
    assert settings.url == "./metastore-data"
    assert settings.service == ServiceSettings()
    assert settings.service.public_read
    assert not settings.service.require_if_match


def test_an_empty_variable_is_none() -> None:
    names = [name for name in NAMES if name != "claims" and name not in RESTRICTING]
    assert config.load({f"METASTORE_{name.upper()}": "" for name in names}) == config.load({})


@pytest.mark.parametrize("name", RESTRICTING)
def test_an_empty_variable_that_would_restrict_something_is_a_mistake(name: str) -> None:
    with pytest.raises(InvalidInput, match=f"METASTORE_{name.upper()} is empty"):
        config.load({f"METASTORE_{name.upper()}": ""})


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({}, ["read datasets and bundles without", "come from this service.", "Nobody may change bundles."]),
        ({"PUBLIC_READ": "off"}, ["read bundles, but not datasets, without"]),
        ({"JWT_SECRET": SECRET}, ["come from the holders of the keys"]),
        ({"JWT_SECRET": SECRET, "JWT_ISSUER": "https://id.example.org"}, ["come from https://id.example.org."]),
        ({"JWT_SECRET": SECRET, "KEY_FILE": "key"}, ["come from this service and the holders"]),
        ({"GROUPS_FILE": "groups.conf"}, ["Members of the groups in groups.conf may change bundles."]),
        ({"REMOTE_USER_FROM": "127.0.0.1"}, ["127.0.0.1 may name the user of a page"]),
    ],
    ids=str,
)
def test_one_line_says_what_is_open_to_whom(variables: dict[str, str], words: list[str]) -> None:
    line = config.openness(config.load({f"METASTORE_{name}": value for name, value in variables.items()}))
    assert "\n" not in line
    assert all(each in line for each in words), line


@pytest.mark.parametrize(
    ("text", "mode", "warned"),
    [
        (f'jwt_secret = "{SECRET}"', 0o644, True),
        ('github_token = "x"', 0o604, True),
        ('store = "postgresql://u:word@host/x"', 0o644, True),
        ('bundles_url = "postgresql://host/x?password=word"', 0o644, True),
        ('store = "postgresql://u@host/x"', 0o644, False),
        (f'jwt_secret = "{SECRET}"', 0o640, False),
        ("public_read = false", 0o644, False),
    ],
)
def test_a_file_with_secrets_that_all_users_can_read_is_warned_of(
    here: Path, caplog: pytest.LogCaptureFixture, text: str, mode: int, warned: bool
) -> None:
    (here / "metastore.toml").touch(mode)
    (here / "metastore.toml").chmod(mode)
    from_file(here / "metastore.toml", text)
    assert ("all users of this machine can read it" in caplog.text) is warned
    assert SECRET not in caplog.text


def test_a_process_that_starts_while_groups_and_keys_are_broken_serves_and_refuses(here: Path) -> None:
    (here / "groups.conf").write_text("groups = NOvA\nNOvA = ann")
    (here / "keys.pem").write_text(pem(private("RS")))
    variables = {"METASTORE_GROUPS_FILE": "groups.conf", "METASTORE_JWT_KEY": "keys.pem", "METASTORE_STORE": "memory:"}
    settings = config.load(variables)
    parent = web.open_service(settings)
    (here / "groups.conf").write_text("rubbish")
    (here / "keys.pem").unlink()
    worker = web.reopened(parent, settings)
    assert worker.bundles is not None
    with pytest.raises(PermissionDenied, match="groups file cannot be read now"):
        worker.bundles.bundle_create({"name": "NuMI", "event": "e,a9", "ifb_group": "NOvA"}, user="ann")
    with pytest.raises(StorageUnavailable, match=r"keys\.pem cannot be read"):
        worker.verifier.identify(signed())
    with pytest.raises(InvalidInput):
        web.open_service(settings)


@pytest.mark.parametrize("word", ["on", "On", "TRUE", "yes", "1"])
def test_a_switch_takes_the_usual_words(word: str) -> None:
    assert service(PUBLIC_READ=word, REQUIRE_IF_MATCH=word) == ServiceSettings(require_if_match=True)
    assert not service(PUBLIC_READ="off").public_read


WRONG = [
    *(("PUBLIC_READ", "maybe"), ("REQUIRE_IF_MATCH", "2"), ("MAX_BYTES", "0"), ("MAX_BYTES", "-1"), ("AUTHOR", "<>")),
    *(
        ("VALIDATION", "hard"),
        ("LFS_URL", "x y"),
        ("DEFAULT_OWNER", "Org"),
        ("DEFAULT_OWNER", "a/b"),
        ("JWKS_URL", "x"),
    ),
    *(
        ("JWT_ALGORITHMS", "none"),
        ("JWT_ALGORITHMS", "RS256,RS257"),
        ("JWT_SECRET", "short"),
        ("JWKS_URL", "file:///x"),
    ),
    *(("JWKS_URL", "x"), ("CORS_ORIGINS", "example.org"), ("CORS_ORIGINS", "https://a.org/"), ("CORS_ORIGINS", "null")),
    *(("CORS_ORIGINS", "https://"), ("CORS_ORIGINS", "https://["), ("CORS_ORIGINS", "https://u@a.org")),
    *(("PUBLIC_URL", "metadata.example.org"), ("PUBLIC_URL", "https://u:p@x"), ("PUBLIC_URL", "https://x/?a=b")),
    *(("PUBLIC_URL", "javascript://x"), ("PUBLIC_URL", "https://x#y"), ("PUBLIC_URL", 'https://x/"')),
    *(("REMOTE_USER_FROM", "localhost"), ("REMOTE_USER_HEADER", "a b"), ("CLONE_URL", "https://x/{name}")),
    *(("OIDC_ISSUER", "https://id.example.org"), ("OIDC_ISSUER", "http://id.example.org")),
    *(("JWKS_URL", "http://["), ("CORS_ORIGINS", "*, x"), ("JWT_SECRET", f"{'x' * 40} short")),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_wrong_value_is_said_with_the_settings_name(name: str, value: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=f"^METASTORE_{name}: "):
        service(**{name: value})
    with pytest.raises(InvalidInput, match=f"^{name.lower()} in the file .*settings.toml: "):
        from_file(tmp_path / "settings.toml", f"{name.lower()} = '{value}'")


@pytest.mark.parametrize(
    "line",
    [
        *("public_read = 7", "public_read = []", "max_bytes = true", "max_bytes = 1.5", "url = 7", "url = ''"),
        *("jwt_key = [7]", "jwt_key = ['']", "jwt_key = {}", "cors_origins = 7", "author = []", "claims = 7"),
        *("[claims]\ngroups = 'x'", "[claims.groups]\neditors = 7", "[claims.groups]\neditors = 'ds:a/b:'"),
        *("user_claim = 1", "jwt_issuer = false", "default_owner = 1979-05-27"),
    ],
)
def test_a_value_of_the_wrong_type_in_a_file_is_said(line: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="in the file"):
        from_file(tmp_path / "settings.toml", line)


def test_a_file_says_all_that_the_environment_can_and_the_environment_goes_first(tmp_path: Path) -> None:
    text = """
    store = "catalogue"
    max_bytes = 1000
    public_read = false
    require_if_match = true
    cors_origins = ["https://a.org", "https://b.org:8443"]
    jwt_algorithms = "RS256, ES256"
    jwt_key = ["a key.pem"]
    [claims.groups]
    editors = "ds:physics/*:update"
    """
    settings = from_file(tmp_path / "settings.toml", text, URL="elsewhere", PUBLIC_READ="on")
    assert (settings.url, settings.options) == ("elsewhere", {"max_bytes": 1000})
    assert settings.service == ServiceSettings(
        require_if_match=True,
        cors_origins=("https://a.org", "https://b.org:8443"),
        jwt_algorithms=("RS256", "ES256"),
        jwt_key=("a key.pem",),
        claims={"groups": {"editors": "ds:physics/*:update"}},
    )


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("publik_read = 1", "did you mean public_read"),
        ("METASTORE_STORE = 'x'", "did you mean store"),
        ("[x]", "there are store"),
    ],
)
def test_a_name_that_is_no_setting_is_an_error_with_a_hint(text: str, hint: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=hint):
        from_file(tmp_path / "settings.toml", text)


@pytest.fixture
def warned(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """The log, in which each variable is named once in a process."""
    config._warn_of.cache_clear()
    return caplog


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("METASTORE_PUBLICREAD", "METASTORE_PUBLIC_READ"),
        ("METASTORE_PUBLIC_REED", "METASTORE_PUBLIC_READ"),
        ("METASTORE_STORES", "METASTORE_STORE"),
        ("METASTORE_GROUP_FILE", "METASTORE_GROUPS_FILE"),
        ("METASTORE_CONFG", "METASTORE_CONFIG"),
        ("METASTORE_TOKENS", "METASTORE_TOKEN"),
        ("metastore_public_read", "METASTORE_PUBLIC_READ"),
    ],
)
def test_a_misspelt_variable_is_named_once_with_what_was_meant(
    warned: pytest.LogCaptureFixture, variable: str, meant: str
) -> None:
    for _ in range(2):
        config.load({variable: "secret"})
    assert [each.getMessage() for each in warned.records] == [
        f"{variable} is not a setting and is ignored: did you mean {meant}?"
    ]


def test_a_public_address_may_have_a_path_and_loses_its_last_slash() -> None:
    for given, kept in (
        ("https://a.example.org/", "https://a.example.org"),
        ("http://[::1]:80/x/", "http://[::1]:80/x"),
    ):
        assert service(PUBLIC_URL=given).public_url == kept


def test_claims_as_a_variable_are_said_to_belong_into_the_file(warned: pytest.LogCaptureFixture) -> None:
    config.load({"METASTORE_CLAIMS": "x"})
    assert "METASTORE_CLAIMS is ignored: claims are a table in the file" in warned.text


def test_no_other_variable_gives_an_alarm(warned: pytest.LogCaptureFixture) -> None:
    words = ("SERVICE", "TEST_DSN", "TEST_PGSERVER", "SOAK", "SOAK_SECONDS", "COMPLETE", "HOST", "PORT", "HOME")
    live = ("LIVE_GITHUB_TOKEN", "LIVE_GITHUB_OWNER", "LIVE_GITLAB_TOKEN", "LIVE_GITLAB_GROUP", "VERSION", "IMAGE")
    others = {"_METASTORE_COMPLETE": "x", "PATH": "x", "MYMETASTORE_URI": "x", "METASTORE_": "x"}
    config.load({f"METASTORE_{word}": "x" for word in (*words, *live)} | others)
    unset = [name for name in NAMES if name != "claims" and name not in RESTRICTING]
    config.load({f"METASTORE_{name.upper()}": "" for name in unset} | {"METASTORE_CONFIG": ""})
    assert warned.records == []


@pytest.mark.parametrize("content", [b"url = ", b"\xff", b"a = 1\na = 2"])
def test_a_file_that_is_no_toml_is_said(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_bytes(content)
    with pytest.raises(InvalidInput, match=r"METASTORE_CONFIG: .*settings.toml is not TOML.*: a line looks like"):
        config.load({"METASTORE_CONFIG": str(tmp_path / "settings.toml")})
    with pytest.raises(InvalidInput, match=r"METASTORE_CONFIG: .* cannot be read: there is no such file"):
        config.load({"METASTORE_CONFIG": str(tmp_path / "none.toml")})


def test_no_secret_is_shown_in_a_repr_or_an_error(here: Path) -> None:
    settings = config.load(
        {
            "METASTORE_JWT_SECRET": "hunter2" * 8,
            "METASTORE_STORE": "postgresql://u:hunter2@host/x",
            "METASTORE_BUNDLES_URL": "postgresql://u:hunter2@host/x",
            "METASTORE_JWT_KEY": "hunter2",
            "METASTORE_JWKS_URL": "https://host/?token=hunter2",
        }
    )
    assert "hunter2" not in repr(settings)
    with pytest.raises(InvalidInput, match="METASTORE_JWT_KEY: this is not PEM") as caught:
        config.verifier(settings)
    assert "hunter2" not in str(caught.value)
    with pytest.raises(InvalidInput) as caught:
        config.load({"METASTORE_JWT_SECRET": "hunter2"})
    assert "hunter2" not in str(caught.value)


def known(**variables: str) -> str | None:
    verifier = config.verifier(config.load({f"METASTORE_{name}": value for name, value in variables.items()}))
    return verifier.identify(signed(exp=LATER)).user


def test_keys_come_as_text_as_files_and_several_at_once(here: Path) -> None:
    good, other = pem(private("RS")), pem(private("RS", 7))
    (here / "good.pem").write_text(good)
    (here / "other.pem").write_text(other)
    (here / "set.json").write_text(key_set(jwk(private("RS"))))
    for value in (good, other + good, good.replace("\n", "\\n"), "good.pem", "other.pem, good.pem", "set.json"):
        assert known(JWT_KEY=value) == "ann"
    assert known(JWT_KEY=key_set(jwk(private("RS")))) == "ann"
    with pytest.raises(AuthenticationError):
        known(JWT_KEY="other.pem")
    assert not (here / "metastore-data").exists()


def test_a_shared_secret_is_a_setting_of_its_own(here: Path) -> None:
    settings = config.load({"METASTORE_JWT_SECRET": f"{'x' * 40}  {SECRET}"})
    assert config.verifier(settings).identify(signed(SECRET, "HS256", exp=LATER)).user == "ann"


def test_issuer_audience_algorithms_user_and_claims_reach_the_verifier(here: Path) -> None:
    good = {"JWT_KEY": pem(private("RS"))}
    for wrong in ({"JWT_ISSUER": "x"}, {"JWT_AUDIENCE": "x"}, {"JWT_ALGORITHMS": "RS512"}):
        with pytest.raises(AuthenticationError):
            known(**good, **wrong)
    assert known(**good, USER_CLAIM="name") == "Ann Lee"
    (here / "settings.toml").write_text("[claims.name]\n'Ann Lee' = 'ds:cars:read'")
    settings = {**{f"METASTORE_{name}": value for name, value in good.items()}, "METASTORE_CONFIG": "settings.toml"}
    with pytest.raises(InvalidInput, match=r"^claims: the scope 'ds:cars:read' grants nothing"):
        config.verifier(config.load(settings))
    verifier = config.verifier(config.load({**settings, "METASTORE_DEFAULT_OWNER": "physics"}))
    assert [each.name for each in verifier.identify(signed(scopes=None, exp=LATER)).scopes] == ["cars"]


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"JWT_KEY": "nothing.pem"}, "METASTORE_JWT_KEY: this is not PEM text, a URL"),
        ({"JWT_KEY": "http://u:p@x/"}, "METASTORE_JWT_KEY: public keys need no password"),
        ({"JWT_SECRET": "x" * 40, "JWT_ALGORITHMS": "RS256"}, "METASTORE_JWT_SECRET: a shared secret fits none"),
        ({"JWT_SECRET": "x" * 40, "JWT_ALGORITHMS": "HS512"}, "METASTORE_JWT_SECRET: a shared secret fits none"),
    ],
)
def test_a_key_that_cannot_be_used_is_said_at_the_start(here: Path, variables: dict[str, str], reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        known(**variables)


def test_a_private_key_is_not_taken_for_a_public_one(here: Path) -> None:
    with pytest.raises(InvalidInput, match="METASTORE_JWT_KEY: this is a private key"):
        known(JWT_KEY=private_pem(private("RS")))


def test_a_server_that_is_down_does_not_keep_the_service_from_starting(here: Path) -> None:
    settings = config.load({"METASTORE_JWKS_URL": "http://127.0.0.1:9/", "METASTORE_JWT_KEY": "http://127.0.0.1:9/x"})
    with pytest.raises(StorageUnavailable):
        config.verifier(settings).identify(signed(exp=LATER))


def test_every_setting_is_parsed_from_the_environment_and_the_file(tmp_path: Path) -> None:
    values: dict[str, Any] = {
        **dict.fromkeys(NAMES, "x"),
        **{
            "author": "Ann",
            "lfs_url": "https://x",
            "validation": "off",
            "version_rule": "warn",
            "max_bytes": "7",
            "durable": "off",
            "rate_at_once": "7",
            "public_read": "off",
        },
        **{"require_if_match": "on", "cors_origins": "*", "jwt_secret": SECRET, "jwks_url": "https://x"},
        **{"jwt_algorithms": "ES256", "remote_user_from": "::1 unix", "oidc_issuer": "https://x"},
        **{"public_url": "https://x", "clone_url": "https://x/{owner}/{name}.git", "lfs_folder": "/x/{owner}/{name}"},
    }
    del values["claims"]
    text = "\n".join(f"{name} = '{value}'" for name, value in values.items())
    outside = config.load({f"METASTORE_{name.upper()}": value for name, value in values.items()})
    assert from_file(tmp_path / "settings.toml", text) == outside
    assert outside != config.load({})


def test_the_former_name_of_a_setting_counts_with_a_warning(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    config._warn_of_former.cache_clear()
    assert config.load({"METASTORE_URL": "old"}).url == "old"
    assert "METASTORE_URL is called METASTORE_STORE now" in caplog.text
    assert config.load({"METASTORE_URL": "old", "METASTORE_STORE": "new"}).url == "new"
    assert "METASTORE_URL is ignored" in caplog.text
    (tmp_path / "settings.toml").write_text('url = "inside"')
    assert config.load({"METASTORE_CONFIG": str(tmp_path / "settings.toml")}).url == "inside"
