"""`bridge history`: what the provider keeps, as whoever types the command sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.acceptance.commands import run
from tests.acceptance.test_command_line import NOWHERE

if TYPE_CHECKING:
    from tests.acceptance.conftest import Provider

pytestmark = pytest.mark.acceptance

OURS = "+16139998877"
THEIRS = "+16131112222"
OTHERS = "+16131113333"


@pytest.fixture
def env(provider: Provider) -> dict[str, str]:
    """Three messages from one number, one from another, and a client of their account."""
    for sender, text in ((THEIRS, "first"), (THEIRS, "second"), (THEIRS, "th\x1b[2Jird"), (OTHERS, "other")):
        provider.post("inbound", {"from": sender, "to": OURS, "message": text})
    return {**NOWHERE, "BRIDGE_CPAAS__BASE_URL": provider.url, "BRIDGE_ADDRESSES__DEFAULT_REGION": "CA"}


def test_threads_are_the_pairs_that_have_messages(env: dict[str, str]) -> None:
    listed = run("history", "threads", "--json", env=env)
    lines = run("history", "threads", THEIRS, env=env)
    nobody = run("history", "threads", "+16135550000", env=env)

    assert [(one["remote_address"], one["local_address"], one["messages"]) for one in listed.json] == [
        (OTHERS, OURS, 1),
        (THEIRS, OURS, 3),
    ]
    header, row = lines.stdout.splitlines()

    assert (lines.code, header.split()) == (0, ["REMOTE", "LOCAL", "LAST_MESSAGE_AT", "MESSAGES"])
    assert row.split()[:2] == [THEIRS, OURS]
    assert (nobody.code, nobody.stdout) == (0, "")


def test_messages_come_in_their_order_and_without_their_texts_unless_asked(env: dict[str, str]) -> None:
    masked = run("history", "messages", "6131112222", OURS, "--json", env=env)
    full = run("history", "messages", THEIRS, OURS, "--full", "--limit", "2", "--json", env=env)
    lines = run("history", "messages", THEIRS, OURS, "--full", env=env)

    assert [one["characters"] for one in masked.json] == [5, 6, 9]
    assert "message" not in masked.json[0]
    assert [one["message"] for one in full.json] == ["second", "th\x1b[2Jird"]
    assert "\x1b" not in lines.stdout
    assert [line.split()[1] for line in lines.stdout.splitlines()[1:]] == ["inbound"] * 3


def test_a_message_has_a_status(env: dict[str, str]) -> None:
    (message,) = run("history", "messages", OTHERS, OURS, "--json", env=env).json
    published = run("history", "status", OTHERS, OURS, message["message_id"], "--json", env=env)
    unknown = run("history", "status", OTHERS, OURS, "nobody-has-it", env=env)

    assert published.json == [{"message_id": message["message_id"], "status": message["status"]}]
    assert (unknown.code, unknown.stdout) == (1, "")
    assert unknown.stderr.startswith("Error: ")


def test_what_is_deleted_is_gone_and_nothing_else(env: dict[str, str]) -> None:
    first = run("history", "messages", THEIRS, OURS, "--json", env=env).json[0]["message_id"]
    unasked = run("history", "delete", THEIRS, OURS, env=env)
    one = [run("history", "delete", THEIRS, OURS, first, "--yes", env=env).code for _ in range(2)]
    left = run("history", "messages", THEIRS, OURS, "--json", env=env).json
    whole = run("history", "delete", THEIRS, OURS, "--yes", env=env)
    threads = run("history", "threads", "--json", env=env).json

    assert (unasked.code, "give --yes" in unasked.stderr) == (2, True)
    assert one == [0, 0]
    assert [message["characters"] for message in left] == [6, 9]
    assert (whole.code, [thread["remote_address"] for thread in threads]) == (0, [OTHERS])


def test_what_is_no_number_is_wrong_usage_and_what_is_refused_a_failure(env: dict[str, str]) -> None:
    wrong = run("history", "messages", "nobody", OURS, env=env)
    refused = run("history", "threads", env={**env, "BRIDGE_CPAAS__CLIENT_SECRET": "wrong"})
    unreachable = run("history", "threads", env={**env, "BRIDGE_CPAAS__BASE_URL": "http://127.0.0.1:1"})

    assert [done.code for done in (wrong, refused, unreachable)] == [2, 1, 69]
    assert (wrong.stdout, refused.stdout, unreachable.stdout) == ("", "", "")
