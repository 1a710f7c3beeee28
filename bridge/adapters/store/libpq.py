"""Checks that libpq accepts a URL's parameters and can read the files that they name; nothing is connected to.

Imported only where the driver is installed.
"""

from __future__ import annotations

import errno
import os
import ssl
import stat
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from psycopg import pq
from psycopg.conninfo import make_conninfo

from bridge.ports import LedgerUnusable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

#: A directory of sockets that does not exist: connecting there fails at once, after libpq checked the parameters.
_NOWHERE = {"host": "/nowhere/of-sms-bridge", "hostaddr": "", "port": "5432"}
#: Not checked: these select a host, or can't be met by a socket.
_HOST_PARAMETERS = ("host", "hostaddr", "port", "gssencmode", "requirepeer")
_ENCRYPTION = frozenset({"disable", "prefer", "require"})


def check_parameters(parameters: Mapping[str, str]) -> None:
    """Check that libpq accepts these parameters.

    Raises:
        LedgerUnusable: it does not; the text names the parameters at fault without their values.

    """
    if parameters.get("gssencmode", "prefer") not in _ENCRYPTION:
        raise _refused(["gssencmode"])
    judged = {name: value for name, value in parameters.items() if name not in _HOST_PARAMETERS}
    if not _is_taken(judged):
        raise _refused(_at_fault(judged))
    _check_files(parameters)


def _is_taken(parameters: Mapping[str, str]) -> bool:
    """Return whether libpq refuses only the directory, as it does without any other parameter."""
    return _error_message(parameters) == _error_message({})


def _error_message(parameters: Mapping[str, str]) -> bytes:
    connection = pq.PGconn.connect_start(make_conninfo(**{**parameters, **_NOWHERE}).encode())
    try:
        return connection.error_message
    finally:
        connection.finish()


def _at_fault(parameters: Mapping[str, str]) -> list[str]:
    """Return the parameters each of whose removal helps; else those that are refused alone; else all."""
    removable = [
        name for name in parameters if _is_taken({key: parameters[key] for key in parameters if key != name})
    ]
    wrong = [name for name, value in parameters.items() if not _is_taken({name: value})]
    return removable or wrong or list(parameters)


def _refused(names: Iterable[str]) -> LedgerUnusable:
    return LedgerUnusable(
        f"ledger.url: libpq does not accept the value of {', '.join(sorted(names))}, or not together with the other "
        "parameters: see PostgreSQL's documentation, Parameter Key Words"
    )


def _check_files(parameters: Mapping[str, str]) -> None:
    """Check the named certificates and keys, and that a CA exists where the server is to be verified.

    Raises:
        LedgerUnusable: a file can't be used.

    """
    mode = parameters.get("sslmode") or os.environ.get("PGSSLMODE", "")
    root = _file(parameters, "sslrootcert", "root.crt")
    if root != Path("system") and ("sslrootcert" in parameters or mode.startswith("verify-")):
        with _errors_named("sslrootcert"):
            ssl.create_default_context(cafile=root)
    if "sslcert" in parameters:
        key = _file(parameters, "sslkey", "postgresql.key")
        with _errors_named("sslkey"):
            _check_private(key)
        with _errors_named("sslcert"):
            password = parameters.get("sslpassword", "")
            ssl.create_default_context().load_cert_chain(parameters["sslcert"], key, lambda: password)


def _file(parameters: Mapping[str, str], name: str, default: str) -> Path:
    """Return the file that libpq uses: from the parameter, the environment variable, or the default."""
    named = parameters.get(name) or os.environ.get(f"PG{name.upper()}")
    return Path(named) if named else Path.home() / ".postgresql" / default


def _check_private(key: Path) -> None:
    """Check a key's permissions as libpq does.

    Raises:
        OSError: libpq would not use it.

    """
    found = key.stat()
    open_to = stat.S_IRWXO | (stat.S_IWGRP | stat.S_IXGRP if found.st_uid == 0 else stat.S_IRWXG)
    if found.st_mode & open_to:
        raise PermissionError(errno.EACCES, "others can read it: chmod 600, or 640 where root owns it")


@contextmanager
def _errors_named(name: str) -> Iterator[None]:
    """Add the parameter's name to the error about its file."""
    try:
        yield
    except OSError as e:
        # OpenSSL's errors are OSErrors, too. Their text contains no file name and no password.
        raise LedgerUnusable(f"ledger.url: the file of {name} can't be used: {e.strerror or e}") from e
