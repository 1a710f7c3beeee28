"""TLS of the ingest: handshakes, limits, and errors of certificate files."""

from __future__ import annotations

import socket
import ssl
from contextlib import ExitStack, closing, suppress
from typing import TYPE_CHECKING, Any

import pytest

from bridge.adapters.http.server.peers import Peers
from bridge.adapters.http.server.server import HttpServer
from bridge.adapters.http.server.tls import CertificateUnusable, server_context
from bridge.app.listener import listen
from bridge.settings import SettingProblem, SettingsError
from bridge.settings.sections import IngestSettings
from tests.harness.certificates import make_certificate
from tests.harness.client_hello import ALERT, FFDHE2048, FFDHE8192, HANDSHAKE, SECP256R1, X25519, client_hello
from tests.harness.http_server import make_hook, make_server
from tests.harness.raw_http import Client, once

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bridge.adapters.http.server.server import HttpServer

#: Seconds that a handshake may take.
HANDSHAKE_TIMEOUT = 5.0
POST = b"POST /hook HTTP/1.1\r\nHost: bridge\r\nContent-Length: 2\r\n\r\n{}"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("tls"))


def server(certificate: Path, key: Path | None, **options: Any) -> HttpServer:
    return make_server(make_hook(), tls_certificate=certificate, tls_key=key, **options)


@pytest.fixture(scope="module")
def port(files: tuple[Path, Path]) -> Iterator[int]:
    serves = server(*files)
    yield serves.start()
    serves.stop(1)


def trusting(certificate: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=certificate)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_notification_is_accepted_over_tls_with_an_authenticated_cipher(
    port: int, files: tuple[Path, Path], version: ssl.TLSVersion
) -> None:
    context = trusting(files[0])
    context.minimum_version = context.maximum_version = version
    with Client(port, tls=context) as client:
        statuses = [client.send(POST).status() for _ in range(2)]
        assert isinstance(client.socket, ssl.SSLSocket)
        cipher = client.socket.cipher()

    assert statuses == [204, 204]
    assert cipher is not None
    assert "GCM" in cipher[0] or "CHACHA20" in cipher[0]


def test_old_ciphers_and_plain_http_are_not_served(port: int, files: tuple[Path, Path]) -> None:
    context = trusting(files[0])
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE-ECDSA-AES256-SHA:@SECLEVEL=0")

    with pytest.raises((ssl.SSLError, ConnectionError)):
        once(port, POST, tls=context)
    with Client(port) as client:
        assert client.send(POST).closed()
    assert once(port, POST, tls=trusting(files[0])) == 204


@pytest.mark.parametrize("with_key", [True, False])
@pytest.mark.parametrize("group", [FFDHE2048, FFDHE8192])
def test_expensive_key_exchange_group_is_not_served(
    port: int, files: tuple[Path, Path], group: int, with_key: bool
) -> None:
    with Client(port) as client:
        refused = client.send(client_hello(group, with_key=with_key)).stream.read(1)
    with Client(port) as client:
        # A client may offer a key in another group: the server requests one in P-256, which every client supports.
        asked = client.send(client_hello(X25519, SECP256R1, group, with_key=True)).stream.read(1)

    assert refused in {ALERT, b""}
    assert asked == HANDSHAKE
    assert once(port, POST, tls=trusting(files[0])) == 204


def test_certificate_and_key_may_be_in_one_file(files: tuple[Path, Path], tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(files[0].read_bytes() + files[1].read_bytes())
    serves = server(both, None)

    assert once(serves.start(), POST, tls=trusting(files[0])) == 204
    serves.stop(1)


def test_clients_without_a_handshake_are_disconnected_and_delay_no_other(files: tuple[Path, Path]) -> None:
    serves = server(*files, head_timeout=0.5)
    port = serves.start()
    slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(50)]
    good = once(port, POST, tls=trusting(files[0]))
    ended = 0
    for each in slow:
        with closing(each):
            each.settimeout(10)
            ended += each.recv(1) == b""

    serves.stop(1)

    assert (good, ended) == (204, 50)


def test_address_is_the_same_before_and_after_the_handshake_on_a_dual_stack_socket(
    files: tuple[Path, Path],
) -> None:
    serves = server(*files, host="::", peers=Peers(each=1))
    port = serves.start()
    begun = POST.removesuffix(b"\r\n\r\n{}") + b"\r\nExpect: 100-continue\r\n\r\n"

    with Client(port, tls=trusting(files[0])) as busy:
        assert busy.send(begun).status() == 100
        with Client(port, timeout=HANDSHAKE_TIMEOUT / 2) as another:
            assert another.closed()
    serves.stop(1)


def test_silent_connections_count_from_their_accept(files: tuple[Path, Path]) -> None:
    serves = server(*files, max_connections=20)
    port = serves.start()

    def answered() -> int:
        try:
            return once(port, POST, tls=trusting(files[0]))
        except OSError:
            return 0

    with ExitStack() as clients:
        silent = [clients.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(21)]
        silent[0].settimeout(HANDSHAKE_TIMEOUT / 2)
        with suppress(ConnectionResetError):
            assert silent[0].recv(1) == b"", "the oldest is closed"
        assert answered() == 204
    serves.stop(1)


def test_stop_does_not_wait_for_handshakes(files: tuple[Path, Path]) -> None:
    serves = server(*files)
    port = serves.start()
    with socket.create_connection(("127.0.0.1", port)) as silent:
        assert once(port, POST, tls=trusting(files[0])) == 204
        serves.stop(60)
        silent.settimeout(HANDSHAKE_TIMEOUT / 2)
        with suppress(ConnectionResetError):
            assert silent.recv(1) == b""


def test_request_with_the_last_handshake_packet_is_answered(files: tuple[Path, Path], port: int) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = trusting(files[0]).wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    with socket.create_connection(("127.0.0.1", port)) as plain:
        plain.settimeout(10)
        while True:
            try:
                ours.do_handshake()
                break
            except ssl.SSLWantReadError:
                plain.sendall(outgoing.read())
                incoming.write(plain.recv(65536))
        ours.write(POST)
        # The end of the client's handshake and its request are one piece.
        plain.sendall(outgoing.read())
        answer = b""
        while b"\r\n\r\n" not in answer:
            try:
                answer += ours.read(65536)
            except ssl.SSLWantReadError:
                incoming.write(plain.recv(65536))

    assert answer.startswith(b"HTTP/1.1 204 ")


@pytest.mark.parametrize("missing", ["certificate", "key"])
def test_unreadable_file_is_named(files: tuple[Path, Path], tmp_path: Path, missing: str) -> None:
    gone = tmp_path / "gone.pem"
    pair = (gone, files[1]) if missing == "certificate" else (files[0], gone)

    with pytest.raises(CertificateUnusable) as refused:
        server_context(*pair)

    assert (refused.value.part, str(refused.value)) == (
        missing,
        f"{gone} can't be read: No such file or directory",
    )


@pytest.mark.parametrize("wrong", ["no certificate", "another's key", "no key", "a passphrase"])
def test_mismatched_or_encrypted_files_are_refused_without_a_prompt(
    files: tuple[Path, Path], tmp_path: Path, wrong: str
) -> None:
    certificate, key = make_certificate(tmp_path, passphrase="plum" if wrong == "a passphrase" else None)
    if wrong == "no certificate":
        certificate.write_text("rubbish")
    pairs = {"another's key": (files[0], key), "no key": (certificate, None)}

    with pytest.raises(CertificateUnusable) as refused:
        server_context(*pairs.get(wrong, (certificate, key)))

    assert refused.value.part == "certificate"
    assert "no certificate with its key, unencrypted (" in str(refused.value)
    assert "plum" not in str(refused.value)


def test_unusable_certificate_is_a_configuration_error(files: tuple[Path, Path], tmp_path: Path) -> None:
    gone = tmp_path / "gone.pem"

    with pytest.raises(SettingsError) as refused:
        listen(server(files[0], gone), IngestSettings(), "ingest")

    assert refused.value.problems == [
        SettingProblem("ingest.tls_key", f"{gone} can't be read: No such file or directory")
    ]
