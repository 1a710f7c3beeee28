"""Real reverse proxies before an HTTP server of ours, configured as docs/configure.md has it."""

from __future__ import annotations

import http.client
import os
import shutil
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from random import Random
from typing import TYPE_CHECKING

from tests.harness.http_server import make_hook, serving
from tests.harness.missing_program import missing_program
from tests.harness.waiting import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


#: The proxy keeps connections for longer than any server in a test: seconds.
LONGER = 60
NGINX = """\
daemon off; master_process off; pid {home}/pid; error_log {home}/error.log;
events {{ worker_connections 200; }}
http {{
  access_log off;
  client_body_temp_path {home}/body; proxy_temp_path {home}/proxy; fastcgi_temp_path {home}/fastcgi;
  uwsgi_temp_path {home}/uwsgi; scgi_temp_path {home}/scgi;
  upstream ingest {{ server 127.0.0.1:{target}; keepalive 64; keepalive_timeout {longer}s; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://ingest; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_next_upstream error timeout non_idempotent;
    }}
  }}
}}
"""
HAPROXY = """\
defaults
  mode http
  timeout connect 5s
  timeout client {longer}s
  timeout server {longer}s
  http-reuse always
  option http-buffer-request
  retries 3
  retry-on conn-failure empty-response
frontend webhooks
  bind 127.0.0.1:{port}
  default_backend ingest
backend ingest
  server ingest 127.0.0.1:{target} pool-purge-delay {longer}s
"""
PROXIES = {"nginx": NGINX, "haproxy": HAPROXY}


def missing(name: str) -> bool:
    """Return whether the proxy is not installed here; scripts/install-test-tools installs it."""
    return _program(name) is None


@contextmanager
def proxy(name: str, home: Path, target: int) -> Iterator[int]:
    """Run a proxy before the server on port `target`, and give its own port."""
    port = free_port()
    configuration = home / f"{name}.conf"
    configuration.write_text(PROXIES[name].format(home=home, target=target, port=port, longer=LONGER))
    arguments = (
        ["-c", str(configuration), "-p", str(home)] if name == "nginx" else ["-db", "-f", str(configuration)]
    )
    with (home / f"{name}.log").open("wb") as log:
        process = subprocess.Popen([str(_program(name)), *arguments], stdout=log, stderr=log)
    try:
        wait_until(lambda: _answers(port), 20, what=name)
        yield port
    finally:
        process.kill()
        process.wait()


def _answers(port: int) -> bool:
    """Return whether the proxy and the server behind it answer."""
    with suppress(OSError), closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
        connection.request("GET", "/")
        return connection.getresponse().status == 405
    return False


def _program(name: str) -> str | None:
    return shutil.which(
        name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    )


def statuses_around_the_limit(name: str, home: Path, iterations: int) -> list[int]:
    """Post twenty times `iterations` requests through a proxy, about when the server ends idle connections.

    Returns the statuses. The requests of one round come at the same time, so that the proxy keeps many connections.
    """
    if missing(name):
        missing_program(name)
    keep_alive = head_timeout = 0.2
    with (
        serving(make_hook(), keep_alive=keep_alive, head_timeout=head_timeout) as server,
        proxy(name, home, server.port) as port,
    ):
        return _statuses(port, keep_alive + head_timeout, iterations)


def _statuses(port: int, seconds: float, iterations: int, *, at_once: int = 20) -> list[int]:
    """Post `at_once` requests `iterations` times, `seconds` apart, and return the statuses."""
    chance, lock, pause = Random(4711), threading.Lock(), threading.Event()

    def post(_: int) -> list[int]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        statuses = []
        for _ in range(iterations):
            connection.request("POST", "/hook", body=b"{}", headers={"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            statuses.append(answer.status)
            with lock:
                idle = seconds + chance.uniform(-0.003, 0.003)
            pause.wait(idle)
        connection.close()
        return statuses

    with ThreadPoolExecutor(at_once) as pool:
        return [status for statuses in pool.map(post, range(at_once)) for status in statuses]
