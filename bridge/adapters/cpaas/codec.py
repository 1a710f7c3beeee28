"""Paths and bodies of the provider's API, exactly as its SDKs write them (wire reference 2 to 6)."""

from __future__ import annotations

import json
from functools import lru_cache
from urllib.parse import quote, urlencode

from bridge.domain.strict_json import NotStrictJSON, loads

TOKEN_PATH = "/cpaas/auth/v1/token"  # noqa: S105 - a path

#: The largest nesting depth of a response's arrays and objects; the provider's have six.
_MAX_DEPTH = 32


def sms(user_id: str, *parts: str, **query: str | int | None) -> str:
    """Return a path of the SMS API; a value None in `query` is omitted.

    Raises:
        ValueError: a part is empty or ``.`` or ``..``, which would change the meaning of the path.

    """
    return _path("/cpaas/smsmessaging/v1", user_id, parts, query)


def channels(user_id: str, *parts: str, **query: str | int | None) -> str:
    """Return a path of the notification channel API; raises as `sms` does."""
    return _path("/cpaas/notificationchannel/v1", user_id, ("channels", *parts), query)


def _path(service: str, user_id: str, parts: tuple[str, ...], query: dict[str, str | int | None]) -> str:
    path = "/".join((service, segment(user_id), *map(segment, parts)))
    given = {key: value for key, value in query.items() if value is not None}
    return f"{path}?{urlencode(given)}" if given else path


@lru_cache(maxsize=512)
def segment(value: str) -> str:
    """Return `value` as one segment of a path. A plus sign stays: the SDKs send it, and the provider accepts it.

    Raises:
        ValueError: `value` is empty, ``.`` or ``..``.

    """
    if value in {"", ".", ".."}:
        raise ValueError("a segment of a path must not be empty or dots")
    return quote(value, safe="+")


def subscription_body(notify: str, number: str | None, correlator: str) -> bytes:
    """Return the body that subscribes a channel to a number's messages; without a number, the default number's."""
    subscription: dict[str, object] = {
        "callbackReference": {"notifyURL": notify},
        "clientCorrelator": correlator,
    }
    if number is not None:
        subscription["destinationAddress"] = number
    return encode({"subscription": subscription})


def channel_body(webhook_url: str, authorization: str | None, correlator: str) -> bytes:
    """Return the body that creates a webhook channel; its notifications have `authorization` as a header."""
    data = {"x-webhookURL": webhook_url}
    if authorization is not None:
        data["x-authorization"] = authorization
    return encode(
        {
            "notificationChannel": {
                "channelData": data,
                "channelType": "webhooks",
                "clientCorrelator": correlator,
            }
        }
    )


def encode(value: object) -> bytes:
    """Encode as compact JSON in ASCII, which can represent a lone surrogate."""
    return _COMPACT.encode(value).encode()


_COMPACT = json.JSONEncoder(separators=(",", ":"))


def json_object(body: bytes) -> dict[str, object] | None:
    """Return the JSON object in `body`; None for any other content."""
    try:
        value = loads(body, max_depth=_MAX_DEPTH)
    except NotStrictJSON:
        return None
    return value if isinstance(value, dict) else None
