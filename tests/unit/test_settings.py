"""Settings: sources of values, refused values, and masked values."""

from __future__ import annotations

import itertools
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from bridge.settings import SettingProblem, Settings, SettingsError, load, read
from bridge.settings.load import variable
from bridge.settings.model import KEYS
from bridge.settings.transfer import pack, unpack

if TYPE_CHECKING:
    from collections.abc import Mapping

REFERENCE = Path(__file__).parents[2] / "config" / "bridge.toml"

ACCOUNT = {
    "BRIDGE_CPAAS__BASE_URL": "https://cpaas.example",
    "BRIDGE_CPAAS__CLIENT_ID": "PRIV-1",
    "BRIDGE_CPAAS__CLIENT_SECRET": "hunter2",
}

#: Allow lists: an empty one admits every client.
ALLOW_LISTS = [("ingest", "authorization"), ("ingest", "allow"), ("submit", "authorization")]


def loaded(
    toml: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
    files: Mapping[str, str] | None = None,
) -> Settings:
    """Load settings from values only: `files` are all files on the disk."""

    def read_file(name: str) -> str:
        if name not in (files or {}):
            raise FileNotFoundError(2, "No such file or directory")
        return (files or {})[name]

    directory = f"{(environ or {}).get('CREDENTIALS_DIRECTORY')}/"
    names = [name.removeprefix(directory) for name in files or {} if name.startswith(directory)]
    return load(toml or {}, environ or {}, read_file, credentials=names)


def problems(
    toml: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
    files: Mapping[str, str] | None = None,
) -> list[SettingProblem]:
    with pytest.raises(SettingsError) as refused:
        loaded(toml, environ, files)
    return refused.value.problems


def test_every_value_has_a_default() -> None:
    assert loaded() == Settings()


def test_reference_file_holds_the_defaults() -> None:
    reference = tomllib.loads(REFERENCE.read_text(encoding="utf-8"))

    assert loaded(reference) == Settings()


def test_reference_file_names_every_key_in_the_order_it_is_declared() -> None:
    reference = tomllib.loads(REFERENCE.read_text(encoding="utf-8"))

    assert {section: tuple(table) for section, table in reference.items()} == KEYS


def test_reference_file_says_what_every_key_does() -> None:
    lines = REFERENCE.read_text(encoding="utf-8").splitlines()
    bare = [line for before, line in itertools.pairwise(lines) if "=" in line and before[:2] != "# "]

    assert [line for line in bare if not line.startswith("#")] == []


@pytest.mark.parametrize(
    "path",
    [(section, key) for section, keys in KEYS.items() for key in keys if (section, key) not in ALLOW_LISTS],
    ids=".".join,
)
def test_variable_with_the_current_value_changes_nothing(path: tuple[str, str]) -> None:
    section, key = path
    value = Settings().model_dump(mode="json")[section][key]
    text = "" if value is None else ",".join(value) if isinstance(value, list) else str(value)

    assert loaded(environ={variable(section, key): text}) == Settings()


def test_variable_overrides_the_file() -> None:
    settings = loaded({"worker": {"concurrency": 4}}, {"BRIDGE_WORKER__CONCURRENCY": "8"})

    assert settings.worker.concurrency == 8


def test_empty_variable_resets_the_value_of_the_file() -> None:
    settings = loaded({"broker": {"url": "amqp://rabbit"}}, {"BRIDGE_BROKER__URL": ""})

    assert settings.broker.url is None


@pytest.mark.parametrize("word", ["false", "0", "no", "off", "False"])
def test_booleans_are_read_from_words(word: str) -> None:
    assert loaded(environ={"BRIDGE_BROKER__DECLARE": word}).broker.declare is False


def test_lists_are_comma_separated_with_spaces_aside() -> None:
    settings = loaded(environ={"BRIDGE_SUBSCRIPTIONS__NUMBERS": "+16139998877, tel:+16139998878,"})

    assert settings.subscriptions.numbers == ("+16139998877", "tel:+16139998878")


def test_secret_is_read_from_a_file_without_its_line_end() -> None:
    environ = {**ACCOUNT, "BRIDGE_CPAAS__CLIENT_SECRET_FILE": "/run/secret"}
    del environ["BRIDGE_CPAAS__CLIENT_SECRET"]
    settings = loaded(environ=environ, files={"/run/secret": " s3cret \r\n"})

    assert settings.cpaas.client_secret is not None
    assert settings.cpaas.client_secret.get_secret_value() == " s3cret "


def test_order_is_variable_then_its_file_then_credential_then_configuration_file() -> None:
    toml = {"ingest": {"authorization": "toml"}, "broker": {"url": "amqp://toml"}}
    environ = {
        "CREDENTIALS_DIRECTORY": "/run/credentials",
        "BRIDGE_INGEST__AUTHORIZATION_FILE": "/run/authorization",
        "BRIDGE_BROKER__URL": "amqp://variable",
    }
    files = {
        "/run/credentials/ingest.authorization": "credential",
        "/run/credentials/broker.url": "amqp://credential",
        "/run/credentials/events.camel_case": "true",
        "/run/authorization": "file",
    }
    settings = loaded(toml, environ, files)

    assert [one.get_secret_value() for one in settings.ingest.authorization] == ["file"]
    assert [node.host for node in settings.broker.nodes] == ["variable"]
    assert settings.events.camel_case is True


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("cpaas.client-secret", "cpaas.client_secret"),
        ("cpaas_client_secret", "cpaas.client_secret"),
        ("cpaas.secret", "cpaas.client_secret"),
        ("broker.uri", "broker.url"),
        ("submit.authorisation", "submit.authorization"),
    ],
)
def test_credential_with_a_mistyped_name_is_refused_with_a_suggestion(name: str, meant: str) -> None:
    found = problems(environ={"CREDENTIALS_DIRECTORY": "/run"}, files={f"/run/{name}": "hunter2"})

    assert found == [SettingProblem(name, f"unknown credential; did you mean {meant}?", f"credential {name}")]


@pytest.mark.parametrize(
    "name",
    [
        "ingest.tls_key.pem",
        "tls.key",
        "postgresql.password",
        "..data",
        "README",
        "admin.broker.url",
        "owner.ledger.url",
        "broker.url.old",
        "broker.url~",
        "cpaas.client_secret.new",
    ],
)
def test_other_files_in_the_credentials_directory_are_ignored(name: str) -> None:
    assert loaded(environ={"CREDENTIALS_DIRECTORY": "/run"}, files={f"/run/{name}": "x"}) == Settings()


@pytest.mark.parametrize(
    "key",
    [
        "ingest.tls_key",
        "ingest.tls_certificate",
        "submit.tls_key",
        "cpaas.ca_file",
        "broker.ca_file",
        "broker.key",
    ],
)
@pytest.mark.parametrize(
    "text", ["-----BEGIN PRIVATE KEY-----", "-----BEGIN X-----\nhunter2\n-----END X-----\n"]
)
def test_content_instead_of_a_file_name_is_refused_and_not_shown(key: str, text: str) -> None:
    found = problems(environ={"CREDENTIALS_DIRECTORY": "/run"}, files={f"/run/{key}": text})
    reason = "must be the name of a file, not the content of one"

    assert SettingProblem(key, reason, f"credential {key}") in found
    assert "hunter2" not in str(found)


@pytest.mark.parametrize("path", ALLOW_LISTS, ids=".".join)
@pytest.mark.parametrize("text", ["", " ", ",", "203.0.113.7,", "203.0.113.7, ,203.0.113.8"])
def test_allow_list_can_not_be_emptied_by_an_empty_string(path: tuple[str, str], text: str) -> None:
    section, key = path
    toml = {section: {key: ["203.0.113.7"]}}
    by_variable = problems(toml, {variable(*path): text})
    by_file = problems({section: {key: text}})

    assert [(one.path, one.origin) for one in by_variable] == [(".".join(path), variable(*path))]
    assert [(one.path, one.origin) for one in by_file] == [(".".join(path), "bridge.toml")]
    assert getattr(getattr(loaded({section: {key: []}}), section), key) == ()


@pytest.mark.parametrize(
    "key", ["ingest.authorization", "ingest.allow", "cpaas.client_secret", "cpaas.proxy", "broker.url"]
)
@pytest.mark.parametrize("text", ["", "\n", " \r\n"])
def test_empty_file_or_credential_is_refused_and_does_not_count_as_unset(key: str, text: str) -> None:
    name = f"{variable(*key.split('.'))}_FILE"
    toml = {"ingest": {"authorization": ["hunter2"], "host": "::"}}
    by_variable = problems(toml, {name: "/run/secret"}, {"/run/secret": text})
    by_credential = problems(toml, {"CREDENTIALS_DIRECTORY": "/run"}, {f"/run/{key}": text})

    reason = "the file is empty: remove the variable or credential for none"
    assert by_variable == [SettingProblem(key, reason, name)]
    assert by_credential == [SettingProblem(key, reason, f"credential {key}")]


def test_names_follow_the_prefix_and_can_each_be_changed() -> None:
    broker = loaded(environ={"BRIDGE_BROKER__PREFIX": "acme", "BRIDGE_BROKER__DEAD_QUEUE": "morgue"}).broker

    assert broker.commands_exchange == "acme.commands"
    assert broker.command_queue == "acme.send"
    assert broker.events_exchange == "acme.events"
    assert broker.unrouted_queue == "acme.unrouted"
    assert broker.dead_queue == "morgue"


def test_prefetch_is_twice_the_concurrency_unless_set() -> None:
    assert loaded(environ={"BRIDGE_WORKER__CONCURRENCY": "5"}).worker.prefetch == 10
    assert loaded(environ={"BRIDGE_WORKER__PREFETCH": "3"}).worker.prefetch == 3


def test_call_lasts_as_long_as_its_parts_unless_set() -> None:
    assert loaded(environ={"BRIDGE_CPAAS__READ_TIMEOUT": "30"}).cpaas.total_timeout == 35
    assert loaded(environ={"BRIDGE_CPAAS__TOTAL_TIMEOUT": "7"}).cpaas.total_timeout == 7


def test_short_lease_shortens_calls_without_a_configured_timeout() -> None:
    assert loaded(environ={"BRIDGE_WORKER__LEASE": "5"}).cpaas.total_timeout == 2.5


def test_lease_that_a_chosen_call_could_outlast_is_refused() -> None:
    found = problems({"cpaas": {"total_timeout": 10}}, {"BRIDGE_WORKER__LEASE": "12"})

    assert [(problem.path, problem.origin) for problem in found] == [("worker.lease", "BRIDGE_WORKER__LEASE")]


@pytest.mark.parametrize(
    ("retention", "max_age", "path"),
    [
        ("86399", "60", "ledger.retention"),
        ("86400", "60", None),
        ("100000", "100001", "ledger.retention"),
        ("100000", "100000", None),
        (None, "8000000", "ledger.retention"),
    ],
)
def test_retention_is_at_least_a_day_and_the_maximum_age(
    retention: str | None, max_age: str, path: str | None
) -> None:
    environ = {"BRIDGE_RETRY__MAX_AGE": max_age}
    if retention is not None:
        environ["BRIDGE_LEDGER__RETENTION"] = retention
    if path is None:
        assert loaded(environ=environ).ledger.retention == float(retention or 0)
    else:
        assert [problem.path for problem in problems(environ=environ)] == [path]


def test_all_errors_are_reported_at_once_with_their_source() -> None:
    found = problems(
        {"broker": {"url": "http://rabbit", "prefx": "x"}, "bar": {}, "worker": 5, "log": {"level": "loud"}},
        {
            "BRIDGE_WORKER__CONCURRENCY": "many",
            "BRIDGE_WORKER__CONCURENCY": "4",
            "BRIDGE_CPAAS__PASSWORD_FILE": "/nowhere",
            "BRIDGE_CPAAS__EMAIL": "me@example.com",
            "BRIDGE_INGEST__HOST": "0.0.0.0",  # noqa: S104 - refused
            "BRIDGE_RETRY__BASE": "1000",
            "BRIDGE_RECEIPTS__FIRST": "86401",
        },
    )

    assert {(problem.path, problem.origin) for problem in found} == {
        ("broker.url", "bridge.toml"),
        ("broker.prefx", "bridge.toml"),
        ("bar", "bridge.toml"),
        ("worker", "bridge.toml"),
        ("log.level", "bridge.toml"),
        ("worker.concurrency", "BRIDGE_WORKER__CONCURRENCY"),
        ("BRIDGE_WORKER__CONCURENCY", "environment"),
        ("cpaas.password", "BRIDGE_CPAAS__PASSWORD_FILE"),
        ("cpaas.base_url", None),
        ("cpaas.client_id", None),
        ("ingest.host", "BRIDGE_INGEST__HOST"),
        ("retry.base", "BRIDGE_RETRY__BASE"),
        ("receipts.first", "BRIDGE_RECEIPTS__FIRST"),
    }


def test_mistyped_name_is_answered_with_the_right_one() -> None:
    found = problems({"broker": {"prefx": "x"}}, {"BRIDGE_WORKER__CONCURENCY": "4"})

    assert [problem.reason for problem in found] == [
        "unknown key; did you mean prefix?",
        "unknown variable; did you mean BRIDGE_WORKER__CONCURRENCY?",
    ]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("broker.url", "rabbit:5672"),
        ("broker.url", "amqp://"),
        ("broker.management_url", "http://rabbit:15672"),
        ("broker.management_url", "http://user@rabbit:15672"),
        ("broker.management_url", "http://u:p@a..b:1"),
        ("broker.management_url", "http://u:p@rabbit:15672/a b"),
        ("broker.management_url", "http://u:p@rabbit:15672/\n"),
        ("broker.management_url", "http://u:p@rabbit:15672/ü"),
        ("broker.management_url", "http://u:p@-rabbit"),
        ("broker.management_url", "http://user:12/34@rabbit:15672"),
        ("broker.management_url", "amqp://user:pass@rabbit:5672"),
        ("broker.prefix", "with space"),
        ("broker.heartbeat", "-1"),
        ("addresses.default_region", "Canada"),
        ("cpaas.read_timeout", "nan"),
        ("cpaas.read_timeout", "inf"),
        ("cpaas.read_timeout", "0"),
        ("cpaas.base_url", "ftp://cpaas.example"),
        ("cpaas.base_url", "https://cpaas.example:99999"),
        ("cpaas.base_url", "https://user:pass@cpaas.example"),
        ("cpaas.base_url", "https://cpaas.example?x=1"),
        ("cpaas.proxy", "http://user:12/34@proxy:3128"),
        ("cpaas.proxy", "http://user:12?34@proxy:3128"),
        ("cpaas.proxy", "http://proxy:3128/path"),
        ("cpaas.proxy", "socks5://proxy:1080"),
        ("cpaas.connect_timeout", "1e7"),
        ("cpaas.read_timeout", "1e300"),
        ("cpaas.default_sender", "+99912345678"),
        ("cpaas.default_sender", "sip:+0000@domain"),
        ("addresses.default_region", "XX"),
        ("worker.concurrency", "40000"),
        ("cpaas.correlator_mode", "always"),
        ("cpaas.default_sender", "ACME"),
        ("ledger.url", ""),
        ("ledger.url", "sqlite://"),
        ("ledger.url", "sqlite:///:memory:"),
        ("ledger.url", "mysql://db/sms"),
        ("worker.concurrency", "0"),
        ("worker.concurrency", ""),
        ("worker.concurrency", "1.5"),
        ("worker.processes", "0"),
        ("worker.processes", "65"),
        ("reconcile.on_absent", "retry"),
        ("limits.account_per_second", "-1"),
        ("subscriptions.numbers", "+16139998877,acme"),
        ("ingest.port", "65536"),
        ("ingest.path", "webhook"),
        ("ingest.path", "/webhook?x=1"),
        ("ingest.authorization", "line\nend"),
        ("ingest.allow", "203.0.113.0/24,everybody"),
        ("ingest.allow", "203.0.113.7/24"),
        ("ingest.trusted_proxies", "localhost"),
        ("ingest.max_connections", "0"),
        ("submit.port", "65536"),
        ("submit.authorization", "line\nend"),
        ("log.format", "xml"),
    ],
)
def test_bad_value_is_refused_with_its_path(path: str, value: str) -> None:
    section, key = path.split(".")
    found = problems(environ={variable(section, key): value})

    assert [(problem.path, problem.origin) for problem in found] == [(path, variable(section, key))]


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        (["BASE_URL"], ["client_id", "client_secret"]),
        (["CLIENT_ID"], ["base_url", "client_secret"]),
        (["CLIENT_SECRET"], ["base_url", "client_id"]),
        (["BASE_URL", "CLIENT_ID"], ["client_secret"]),
        (["BASE_URL", "CLIENT_ID", "EMAIL"], ["password"]),
        (["BASE_URL", "CLIENT_ID", "PASSWORD"], ["email"]),
    ],
)
def test_incomplete_account_is_refused_with_the_missing_settings(
    given: list[str], missing: list[str]
) -> None:
    values = {"BASE_URL": "https://cpaas.example"}
    found = problems(environ={f"BRIDGE_CPAAS__{key}": values.get(key, "x") for key in given})

    assert sorted(problem.path for problem in found) == sorted(f"cpaas.{key}" for key in missing)


def test_account_has_a_secret_or_an_email_and_a_password() -> None:
    by_password = {**ACCOUNT, "BRIDGE_CPAAS__EMAIL": "me@example.com", "BRIDGE_CPAAS__PASSWORD": "hunter2"}
    del by_password["BRIDGE_CPAAS__CLIENT_SECRET"]

    assert loaded(environ=ACCOUNT).cpaas.configured
    assert loaded(environ=by_password).cpaas.configured
    assert not loaded().cpaas.configured


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "[::1]", "localhost"])
def test_webhook_without_authorization_requires_a_loopback_host(host: str) -> None:
    assert loaded(environ={"BRIDGE_INGEST__HOST": host}).ingest.host == host.strip("[]")
    assert [one.path for one in problems(environ={"BRIDGE_INGEST__HOST": "192.0.2.1"})] == ["ingest.host"]


def test_single_address_is_a_network() -> None:
    settings = loaded(environ={"BRIDGE_INGEST__ALLOW": "203.0.113.7, 198.51.100.0/24, 2001:DB8::/32"})

    assert settings.ingest.allow == ("203.0.113.7/32", "198.51.100.0/24", "2001:db8::/32")


@pytest.mark.parametrize("section", ["ingest", "submit"])
def test_tls_key_without_its_certificate_is_refused(section: str) -> None:
    found = problems(environ={variable(section, "tls_key"): "/etc/sms-bridge/key.pem"})

    assert [problem.path for problem in found] == [f"{section}.tls_certificate"]


@pytest.mark.parametrize("section", ["ingest", "submit"])
def test_webhook_with_authorization_permits_any_host(section: str) -> None:
    environ = {variable(section, "host"): "::", variable(section, "authorization"): "old,new"}

    assert getattr(loaded(environ=environ), section).host == "::"


def test_webhook_authorization_does_not_permit_commands() -> None:
    environ = {"BRIDGE_INGEST__AUTHORIZATION": "one,two", "BRIDGE_SUBMIT__AUTHORIZATION": "three,two"}
    (found,) = problems(environ=environ)

    assert (found.path, "two" in str(found)) == ("submit.authorization", False)
    assert loaded(environ=environ | {"BRIDGE_SUBMIT__AUTHORIZATION": "three"}).submit.authorization


@pytest.mark.parametrize(("text", "port"), [("", None), ("0", 0), ("8081", 8081)])
def test_command_api_is_off_without_a_port(text: str, port: int | None) -> None:
    assert loaded(environ={"BRIDGE_SUBMIT__PORT": text}).submit.port == port
    assert loaded().submit.port is None


def test_value_given_twice_is_refused() -> None:
    environ = {**ACCOUNT, "BRIDGE_CPAAS__CLIENT_SECRET_FILE": "/run/secret"}

    assert [problem.path for problem in problems(environ=environ)] == ["cpaas.client_secret"]


SECRET = "s3cr3t-canary"


def shown(environ: Mapping[str, str]) -> str:
    """Return all output of the settings, or of the error if they are refused."""
    try:
        settings = loaded(environ=environ)
    except SettingsError as error:
        return f"{error!s} {error!r} {error.problems!r}"
    return f"{settings!s} {settings!r} {settings.model_dump()!r} {settings.model_dump_json()}"


@given(
    key=st.sampled_from(
        [
            "CPAAS__CLIENT_SECRET",
            "CPAAS__PASSWORD",
            "INGEST__AUTHORIZATION",
            "BROKER__URL",
            "LEDGER__URL",
            "CPAAS__PROXY",
            "CPAAS__CLIENT_SECRET_FILE",
        ]
    ),
    value=st.sampled_from(
        [
            SECRET,
            f"amqp://user:{SECRET}@rabbit/vhost",
            f"amqp://user:{SECRET}/with@signs@rabbit/vhost",
            f"postgresql+psycopg://user:{SECRET}@db/sms",
            f"postgresql+psycopg://db/sms?user=x&password={SECRET}",
            f"http://user:{SECRET}@proxy:3128",
            f"http://user:{SECRET}@proxy:notaport",
            f"{SECRET}\x00",
        ]
    ),
)
def test_no_secret_shows_in_settings_or_in_an_error(key: str, value: str) -> None:
    if key == "CPAAS__CLIENT_SECRET_FILE":  # the secret itself instead of its file's name
        value = f"{value}\n"

    assert SECRET not in shown({f"BRIDGE_{key}": value})


#: URLs with a secret at each possible position.
SECRET_URLS = [
    f"{scheme}://{rest}"
    for scheme in ("http", "https", "amqp", "amqps", "postgresql", "postgresql+psycopg", "sqlite")
    for rest in (
        f"user:{SECRET}@localhost",
        f"user:{SECRET}@localhost/path",
        f"user:a/{SECRET}?b#c@localhost/path",
        f"{SECRET}@localhost/path",
        f"localhost/path?token={SECRET}",
        f"localhost/path?a=1;sig={SECRET}&b",
        f"localhost/path?{SECRET}",
        f"/var/lib/ledger.sqlite3?key={SECRET}",
        f"localhost/path#{SECRET}",
    )
]


def url_settings() -> list[tuple[str, str]]:
    """Return every setting that takes a URL and nothing else."""
    taking = []
    for section, key in [(section, key) for section, keys in KEYS.items() for key in keys]:
        for value in SECRET_URLS:
            try:
                Settings.model_validate({section: {key: value}})
            except ValidationError:
                continue
            break
        else:
            continue
        try:
            Settings.model_validate({section: {key: "no URL"}})
        except ValidationError:
            taking.append((section, key))
    return taking


def test_every_setting_that_takes_a_url_with_a_secret_is_among_those_that_are_tried() -> None:
    assert {".".join(path) for path in url_settings()} >= {
        "broker.url",
        "cpaas.proxy",
        "ledger.url",
        "subscriptions.webhook_url",
        "tracing.endpoint",
    }


@pytest.mark.parametrize("path", url_settings(), ids=".".join)
def test_no_setting_that_takes_a_url_shows_a_secret_in_it(path: tuple[str, str]) -> None:
    # A user name without a password is a token in HTTP only.
    names = {url for url in SECRET_URLS if f"//{SECRET}@" in url and not url.startswith("http")}

    assert [url for url in SECRET_URLS if url not in names and SECRET in shown({variable(*path): url})] == []


def test_masked_url_shows_its_host() -> None:
    urls = "amqp://bridge:hunter2@rabbit:5672/sms, amqps://bridge:hunter3@rabbit-2/sms?certfile=/hunter4.pem"
    shown = loaded(environ={"BRIDGE_BROKER__URL": urls}).model_dump(mode="json")["broker"]["url"]

    assert shown == [
        "amqp://bridge:***@rabbit:5672/sms",
        "amqps://bridge:***@rabbit-2/sms?certfile=***",
    ]


def test_file_named_on_the_command_line_wins_over_the_variable(tmp_path: Path) -> None:
    for name in ("named", "variable"):
        (tmp_path / f"{name}.toml").write_text(f'[broker]\nprefix = "{name}"\n', encoding="utf-8")
    environ = {"BRIDGE_CONFIG": str(tmp_path / "variable.toml")}

    assert read(str(tmp_path / "named.toml"), environ).broker.prefix == "named"
    assert read(None, environ).broker.prefix == "variable"


@pytest.mark.parametrize("content", [None, b"[broker\n", b"\xff\xfe"])
def test_named_file_that_cant_be_used_is_refused_by_name(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "bridge.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingsError) as refused:
        read(str(file), {})

    assert [problem.path for problem in refused.value.problems] == [str(file)]


def test_secrets_are_read_from_real_files(tmp_path: Path) -> None:
    (tmp_path / "broker.url").write_text("amqp://user:secret@rabbit\n", encoding="utf-8")
    (tmp_path / "bad").write_bytes(b"\xff")
    (tmp_path / "bridge.toml").touch()
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path), "BRIDGE_CONFIG": str(tmp_path / "bridge.toml")}
    settings = read(None, environ)
    with pytest.raises(SettingsError) as refused:
        read(None, {**environ, "BRIDGE_CPAAS__PROXY_FILE": str(tmp_path / "bad")})

    assert [(node.user, node.password) for node in settings.broker.nodes] == [("user", "secret")]
    assert refused.value.problems == [
        SettingProblem("cpaas.proxy", "the file is not UTF-8", "BRIDGE_CPAAS__PROXY_FILE")
    ]


@pytest.mark.parametrize("name", ["absent", "file"])
def test_directory_of_credentials_that_is_not_there_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "bridge.toml").touch()
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path / name)}
    with pytest.raises(SettingsError) as refused:
        read(str(tmp_path / "bridge.toml"), environ)

    assert [problem.path for problem in refused.value.problems] == ["CREDENTIALS_DIRECTORY"]


def test_settings_survive_a_pipe() -> None:
    given = {
        **ACCOUNT,
        "BRIDGE_BROKER__URL": "amqps://guest:hunter2@broker/vhost,amqps://guest:hunter2@other/vhost",
        "BRIDGE_BROKER__CA_FILE": "/etc/ca.pem",
        "BRIDGE_BROKER__MANAGEMENT_URL": "https://monitor:hunter2@rabbit:15671/",
        "BRIDGE_CPAAS__PROXY": "http://user:hunter2@proxy:3128",
        "BRIDGE_LEDGER__URL": "postgresql+psycopg://bridge:hunter2@db/sms",
        "BRIDGE_INGEST__AUTHORIZATION": "hunter2,hunter3",
        "BRIDGE_INGEST__ALLOW": "203.0.113.0/24",
        "BRIDGE_INGEST__SPOOL": "/var/lib/spool",
        "BRIDGE_WORKER__LEASE": "3",
        "BRIDGE_LOG__FORMAT": "json",
    }
    for settings in (Settings(), loaded(environ=given)):
        line = pack(settings)

        assert unpack(line) == settings
        assert "\n" not in line


@pytest.mark.parametrize("line", ["", "{", '{"worker": {"threads": 2}}'])
def test_settings_of_another_version_are_refused(line: str) -> None:
    with pytest.raises(ValueError, match="validation error"):
        unpack(line)


def test_worker_and_ingest_have_distinct_admin_ports_by_default() -> None:
    usual, chosen = Settings().admin, Settings.model_validate({"admin": {"port": 9000}}).admin

    assert (usual.worker_port, usual.ingest_port) == (9464, 9465)
    assert (chosen.worker_port, chosen.ingest_port) == (9000, 9000)
