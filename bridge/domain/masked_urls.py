"""URLs masked for logs and output: without passwords and without the values of options."""

from __future__ import annotations

import re

_HIDDEN = "***"
#: A URL within a text, up to the next space, since an unescaped password may contain all other characters. The scheme
#: is bounded because the search would otherwise take quadratic time on a long word.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}://\S+")
#: One option of a URL: its name, and its optional value.
_OPTION = re.compile(r"([^&;=]*)=?[^&;]*")
#: Options of AMQP and PostgreSQL URLs whose values help an operator and are never secret. All others are hidden, since
#: a token can have any name.
_SHOWN_OPTIONS = frozenset(
    {
        "application_name",
        "auth_mechanism",
        "channel_max",
        "connect_timeout",
        "connection_timeout",
        "heartbeat",
        "host",
        "keepalives",
        "load_balance_hosts",
        "port",
        "sslmode",
        "sslrootcert",
        "target_session_attrs",
        "verify",
    }
)


def mask_url(url: str) -> str:
    """Return `url` without its password, the values of its options and its fragment.

    The user name is shown if a password follows. Without a password, an HTTP URL's user name is a token and hidden.
    Everything before the last ``@`` counts as user and password, since an unescaped password may contain any character.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return _HIDDEN if "@" in url else _without_values(url)
    credentials, at, location = rest.rpartition("@")
    return f"{scheme}://{_user(scheme, credentials)}{at}{_without_values(location)}"


def mask_urls(text: str) -> str:
    """Return `text` with each URL in it masked by `mask_url`."""
    return _URL.sub(lambda found: mask_url(found[0]), text)


def _user(scheme: str, credentials: str) -> str:
    if not credentials:
        return ""
    name, has_password, _ = credentials.partition(":")
    if any(marker in name for marker in "/?#") or (not has_password and scheme.lower().startswith("http")):
        return _HIDDEN
    return f"{name}:{_HIDDEN}" if has_password else name


def _without_values(location: str) -> str:
    location, has_fragment, _ = location.partition("#")
    path, has_options, options = location.partition("?")
    shown = _OPTION.sub(_shown_option, options)
    return f"{path}{has_options}{shown}{has_fragment}{_HIDDEN if has_fragment else ''}"


def _shown_option(found: re.Match[str]) -> str:
    option, name = found[0], found[1]
    if not option or name.lower() in _SHOWN_OPTIONS:
        return option
    return f"{name}={_HIDDEN}" if "=" in option else _HIDDEN
