"""Broker URLs: accepted forms, refused forms, and reasons that quote no part of a URL."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.client import ConfigurationError, Options
from bridge.domain.broker_parameters import BadBrokerUrl, TlsFiles
from bridge.domain.broker_url import BrokerNode, Tls, read_broker_url, read_broker_urls, split_urls
from bridge.settings import Settings, SettingsError, load

if TYPE_CHECKING:
    from collections.abc import Mapping

SECRET = "s3cr3t-canary"
PLAIN = BrokerNode(
    host="rabbit",
    port=5672,
    user="guest",
    password="guest",
    vhost="/",
    tls=None,
    mechanisms=("PLAIN",),
    heartbeat=None,
    connect_timeout=None,
    channel_max=None,
)
TLS = Tls(files=TlsFiles(), verify=True, server_name="rabbit")
ENCRYPTED = replace(PLAIN, port=5671, tls=TLS)

#: Accepted URLs and their values.
UNDERSTOOD = {
    "amqp://rabbit": PLAIN,
    "AMQP://rabbit": PLAIN,
    "amqp://rabbit/": PLAIN,
    "amqp://rabbit//": PLAIN,
    "amqp://rabbit:/%2f": PLAIN,
    "amqp://rabbit:5673/sms": replace(PLAIN, port=5673, vhost="sms"),
    "amqp://rabbit/a%2Fb%20c": replace(PLAIN, vhost="a/b c"),
    "amqp://10.0.0.7": replace(PLAIN, host="10.0.0.7"),
    "amqp://[2001:DB8::7]:5673": replace(PLAIN, host="2001:db8::7", port=5673),
    "amqp://rabbit_1.sms.svc.cluster.local.": replace(PLAIN, host="rabbit_1.sms.svc.cluster.local."),
    "amqp://u:p@rabbit": replace(PLAIN, user="u", password="p"),
    "amqp://u@rabbit": replace(PLAIN, user="u", password=""),
    # Every character that does not end the authority may be unescaped.
    "amqp://u:a;b,c&d=e+f!:@g[h]@rabbit": replace(PLAIN, user="u", password="a;b,c&d=e+f!:@g[h]"),
    "amqp://u:%2F%3F%23%40%3A%25%3B@rabbit": replace(PLAIN, user="u", password="/?#@:%;"),
    "amqp://jürgen:pässwörd@rabbit": replace(PLAIN, user="jürgen", password="pässwörd"),
    "amqp://rabbit?heartbeat=5&connection_timeout=10000": replace(PLAIN, heartbeat=5.0, connect_timeout=10.0),
    "amqp://rabbit?heartbeat=0&connection_timeout=30": replace(PLAIN, heartbeat=0.0, connect_timeout=0.03),
    "amqp://rabbit?channel_max=100": replace(PLAIN, channel_max=100),
    "amqp://rabbit?channel_max=0": PLAIN,
    "amqp://rabbit?auth_mechanism=PLAIN": PLAIN,
    "amqp://rabbit?auth_mechanism=external&auth_mechanism=plain": replace(
        PLAIN, mechanisms=("EXTERNAL", "PLAIN")
    ),
    "amqps://rabbit": ENCRYPTED,
    "amqps://rabbit.": replace(ENCRYPTED, host="rabbit."),
    "amqps://rabbit?verify=verify_peer&cacertfile=/ca.pem": replace(
        ENCRYPTED, tls=replace(TLS, files=TlsFiles(ca_file="/ca.pem"))
    ),
    "amqps://rabbit?certfile=/own%20cert.pem&keyfile=/own+key.pem": replace(
        ENCRYPTED, tls=replace(TLS, files=TlsFiles(certificate="/own cert.pem", key="/own+key.pem"))
    ),
    "amqps://rabbit?verify=verify_none": replace(ENCRYPTED, tls=replace(TLS, verify=False)),
    "amqps://rabbit?server_name_indication=broker.example": replace(
        ENCRYPTED, tls=replace(TLS, server_name="broker.example")
    ),
}

#: Refused URLs, and a word of the reason.
REFUSED = {
    "": "is empty",
    "rabbit": "must begin",
    "rabbit:5672": "must begin",
    "http://rabbit": "must begin",
    "amqp:rabbit": "must begin",
    "amqp+tls://rabbit": "must begin",
    "amqp://": "must name a host",
    "amqp:///vhost": "must name a host",
    f"amqp://u:{SECRET}@": "must name a host",
    f"amqp://u:{SECRET}@:5672": "must name a host",
    "amqp://a..b": "must name a host",
    f"amqp://{'a' * 64}": "must name a host",
    "amqp://büro": "must name a host",
    "amqp://-rabbit": "must name a host",
    "amqp://[::1": "must name a host",
    "amqp://[rabbit]": "not an IPv6 address",
    "amqp://[fe80::1%25eth0]": "zone",
    "amqp://rabbit:port": "port",
    "amqp://rabbit:0": "port",
    "amqp://rabbit:65536": "port",
    f"amqp://u:{SECRET}": "port",
    f"amqp://u:{SECRET}/with@slash@rabbit": "@ after the host",
    f"amqp://u:1?{SECRET}@rabbit": "@ after the host",
    f"amqp://u:1#{SECRET}@rabbit": "%23",
    f"amqp://u:{SECRET}%@rabbit": "%25",
    f"amqp://u:{SECRET}%zz@rabbit": "%25",
    f"amqp://u:{SECRET}%ff@rabbit": "UTF-8",
    f"amqp://u:{SECRET}%00@rabbit": "control character",
    f"amqp://u:{SECRET} x@rabbit": "%20",
    f"amqp://u:{SECRET}\nx@rabbit": "%20",
    f"amqp://u:{SECRET}\ud83d@rabbit": "UTF-8",
    f"amqp://{SECRET}%0a:p@rabbit": "control character",
    "amqp://rabbit/a/b": "%2F",
    "amqp://rabbit/a%0ab": "control character",
    f"amqp://rabbit/{'v' * 256}": "255",
    "amqp://rabbit;amqp://rabbit-2": "with commas",
    "amqp://rabbit;rabbit-2": "begins with amqp:// or amqps://",
    "amqp://rabbit,rabbit-2": "begins with amqp:// or amqps://",
    "amqp://rabbit/sms,rabbit-2/sms": "begins with amqp:// or amqps://",
    f"amqp://u:{SECRET}@rabbit/sms,u:{SECRET}@rabbit-2/sms": "begins with amqp:// or amqps://",
    f"amqp://u:{SECRET}@rabbit/sms\namqp://u:{SECRET}@rabbit-2/sms": "separate the URLs with commas",
    f"amqp://u:{SECRET}@rabbit/sms amqp://u:{SECRET}@rabbit-2/sms": "separate the URLs with commas",
    f"amqp://u:{SECRET}@rabbit;amqp://u:{SECRET}@rabbit-2": "with commas",
    f"amqp://u:{SECRET}@rabbit/v;amqp://u:{SECRET}@rabbit-2/v": "with commas",
    "amqp://rabbit/v;w": "%3B",
    "amqp://rabbit/v,w": "%2C",
    f"amqp://rabbit?{SECRET}": "other than auth_mechanism",
    f"amqp://rabbit?password={SECRET}": "other than auth_mechanism",
    "amqp://rabbit?connect_timeout=5": "other than auth_mechanism",
    "amqp://rabbit?Heartbeat=5": "other than auth_mechanism",
    "amqp://rabbit?heartbeat": "empty heartbeat",
    "amqp://rabbit?heartbeat=5&heartbeat=5": "heartbeat twice",
    "amqp://rabbit?heartbeat=-1": "seconds from 0 to 3600",
    "amqp://rabbit?heartbeat=2.5": "seconds from 0 to 3600",
    "amqp://rabbit?heartbeat=3601": "seconds from 0 to 3600",
    "amqp://rabbit?connection_timeout=0": "milliseconds from 1 to 10000",
    "amqp://rabbit?connection_timeout=10001": "milliseconds from 1 to 10000",
    "amqp://rabbit?channel_max=9": "from 10 to 65535",
    "amqp://rabbit?channel_max=65536": "from 10 to 65535",
    "amqp://rabbit?auth_mechanism=gssapi": "PLAIN, AMQPLAIN, EXTERNAL",
    "amqp://rabbit?cacertfile=/ca.pem": "requires amqps://",
    "amqp://rabbit?verify=verify_none": "requires amqps://",
    "amqps://rabbit?keyfile=/key.pem": "keyfile without certfile",
    "amqps://rabbit?verify=none": "verify_peer nor verify_none",
    "amqps://rabbit?server_name_indication=a/b": "neither a name nor an address",
    "amqps://rabbit?cacertfile=%0a": "control character",
}


@pytest.mark.parametrize("url", UNDERSTOOD)
def test_url_is_understood_part_by_part(url: str) -> None:
    assert read_broker_url(url) == UNDERSTOOD[url]


@pytest.mark.parametrize("url", REFUSED)
def test_invalid_url_is_refused_with_a_reason_and_not_quoted(url: str) -> None:
    with pytest.raises(BadBrokerUrl) as refused:
        read_broker_url(url)

    assert REFUSED[url] in str(refused.value)
    assert SECRET not in f"{refused.value!r} {refused.value.__cause__!r}"


@given(st.text(alphabet=st.sampled_from("amqps:/@?#%;,[]=&. ü\n0x2"), max_size=40))
def test_no_url_raises_another_error(rest: str) -> None:
    try:
        node = read_broker_url(f"amqps://{rest}")
    except BadBrokerUrl:
        return

    assert node.host
    assert node.vhost


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=20))
def test_every_password_can_be_given_with_escapes(password: str) -> None:
    escaped = "".join(f"%{byte:02X}" for byte in password.encode())

    assert read_broker_url(f"amqp://u:{escaped}@rabbit").password == password


def test_node_shows_neither_user_nor_password() -> None:
    shown = repr(read_broker_url(f"amqp://{SECRET}:{SECRET}@rabbit"))

    assert SECRET not in shown


@pytest.mark.parametrize(
    ("text", "urls"),
    [
        ("", []),
        ("amqp://a", ["amqp://a"]),
        (" amqp://a/x , AMQPS://b/y,\n", ["amqp://a/x", "AMQPS://b/y"]),
        ("amqp://u:p,w@a,amqp://u:p,@b", ["amqp://u:p,w@a", "amqp://u:p,@b"]),
        # Not a list: refused as one URL, rather than read in part.
        ("amqp://a,b", ["amqp://a,b"]),
        ("amqp://a;amqp://b", ["amqp://a;amqp://b"]),
    ],
)
def test_urls_are_separated_only_by_a_comma_before_a_url(text: str, urls: list[str]) -> None:
    assert split_urls(text) == urls


def test_invalid_url_is_named_by_its_position() -> None:
    with pytest.raises(BadBrokerUrl, match=r"^URL 2 of 2 must begin"):
        read_broker_urls(["amqp://a", f"http://u:{SECRET}@b"])


def test_urls_of_one_list_lead_to_one_vhost() -> None:
    assert len(read_broker_urls(["amqp://a/%2F", "amqp://b", "amqp://c//"])) == 3
    with pytest.raises(BadBrokerUrl, match=r"^URL 2 of 3 has another vhost than URL 1: .* one cluster$"):
        read_broker_urls(["amqp://a/sms", f"amqp://u:{SECRET}@b/other", "amqp://c/sms"])


def test_tls_files_of_the_settings_apply_to_urls_without_any() -> None:
    files = TlsFiles(ca_file="/ca.pem", certificate="/cert.pem", key="/key.pem")
    own = "amqps://b?cacertfile=/other.pem&certfile=/both.pem"
    plain, with_files, with_own = read_broker_urls(["amqp://c", "amqps://a", own], files)

    assert plain.tls is None
    assert with_files.tls is not None
    assert with_files.tls.files == files
    assert with_own.tls is not None
    assert with_own.tls.files == TlsFiles(ca_file="/other.pem", certificate="/both.pem", key=None)


def test_files_for_tls_without_a_url_that_encrypts_are_refused() -> None:
    with pytest.raises(BadBrokerUrl, match="use amqps://"):
        read_broker_urls(["amqp://a", "amqp://b"], TlsFiles(ca_file="/ca.pem"))


# -- the settings ----------------------------------------------------------------------------------


def loaded(toml: Mapping[str, object]) -> Settings:
    return load({"broker": toml}, {}, lambda name: name)


@pytest.mark.parametrize("url", [url for url in REFUSED if url])
def test_settings_refuse_the_same_urls(url: str) -> None:
    with pytest.raises(SettingsError) as refused:
        loaded({"url": url})

    assert [problem.path for problem in refused.value.problems] == ["broker.url"]
    assert SECRET not in repr(refused.value.problems)


@pytest.mark.parametrize("url", UNDERSTOOD)
def test_settings_understand_the_same_urls(url: str) -> None:
    assert loaded({"url": url}).broker.nodes == (UNDERSTOOD[url],)


@pytest.mark.parametrize("url", [["amqp://a", "amqps://b"], "amqp://a,amqps://b", "amqp://a ,\n amqps://b,"])
def test_several_urls_are_a_list_or_separated_by_commas(url: object) -> None:
    assert [node.host for node in loaded({"url": url}).broker.nodes] == ["a", "b"]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("amqp://a/sms,,", "ends with a comma"),
        (",", "is empty: give the broker's URL"),
        ("  ", "is empty: give the broker's URL"),
        (" , ", "is empty: give the broker's URL"),
        ("amqp://a,,amqp://b", "URL 1 of 2 ends with a comma"),
        ({"host": "a"}, "must be a URL, or a list of URLs"),
        (5672, "must be a URL, or a list of URLs"),
        (["amqp://a/sms", "amqp://b/SMS"], "URL 2 of 2 has another vhost than URL 1"),
    ],
)  # fmt: skip
def test_invalid_list_of_urls_is_refused_with_a_hint(url: object, reason: str) -> None:
    with pytest.raises(SettingsError) as refused:
        loaded({"url": url})

    (problem,) = refused.value.problems
    assert problem.path == "broker.url"
    assert reason in problem.reason


def test_client_names_a_url_by_its_position_once() -> None:
    with pytest.raises(ConfigurationError, match=r"^the broker's URL 2 of 2 must begin"):
        Options().address(["amqp://a", "http://b"])
    with pytest.raises(ConfigurationError, match=r"^the broker's URL must begin"):
        Options().address("http://b")
    with pytest.raises(ConfigurationError, match=r"^the broker's URL is empty"):
        Options().address(" , ")


@pytest.mark.parametrize("url", ["", []])
def test_empty_url_counts_as_unset(url: object) -> None:
    assert loaded({"url": url}).broker.url is None


@pytest.mark.parametrize(
    ("toml", "path"),
    [
        ({"url": "amqp://a", "ca_file": "/ca.pem"}, "broker.url"),
        ({"url": "amqps://a", "key": "/key.pem"}, "broker.certificate"),
        ({"url": "amqps://a", "connect_timeout": 11}, "broker.connect_timeout"),
    ],
)
def test_contradictory_broker_settings_are_refused(toml: Mapping[str, object], path: str) -> None:
    with pytest.raises(SettingsError) as refused:
        loaded(toml)

    assert [problem.path for problem in refused.value.problems] == [path]
