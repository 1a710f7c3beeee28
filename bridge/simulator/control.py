"""The simulator's own endpoints, under `/_simulator`: what it saw, and what it should do next."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError

from bridge.simulator import notifications
from bridge.simulator.addresses import number_of
from bridge.simulator.calls import RecordedCall
from bridge.simulator.errors import control_error
from bridge.simulator.faults import TARGETS, parse_faults
from bridge.simulator.http import Reply, json_reply
from bridge.simulator.page import PAGE
from bridge.simulator.router import Route

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.simulator.history import SimulatedMessage
    from bridge.simulator.http import SimulatorRequest
    from bridge.simulator.router import Handler
    from bridge.simulator.state import Account

T = TypeVar("T")

#: How many messages the page shows.
_SHOWN = 200


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Inbound(_Strict):
    """An inbound SMS to the account; to its default number where none is named."""

    sender: str = Field(alias="from")
    to: str = "default"
    message: str = Field(min_length=1)
    #: Seconds ago that it was sent.
    age: float = Field(default=0.0, ge=0)


class Number(_Strict):
    """A number to take from the account or to give to it."""

    number: str


class Status(_Strict):
    """A new status of a message, and whether it is posted to the webhooks."""

    message_id: str
    status: str
    notify: bool = False


_OBJECT: TypeAdapter[dict[str, JsonValue]] = TypeAdapter(dict[str, JsonValue])


class Control:
    """Shows and steers the account from outside the provider's API."""

    def __init__(self, account: Account) -> None:
        self._account = account

    def routes(self) -> list[Route]:
        """Return the endpoints of this file."""
        endpoints: list[tuple[str, str, Handler]] = [
            ("GET", "", self.page),
            ("GET", "_simulator", self.page),
            ("GET", "_simulator/journal", self.journal),
            ("GET", "_simulator/messages", self.messages),
            ("GET", "_simulator/notifications", self.notifications),
            ("GET", "_simulator/stats", self.stats),
            ("GET", "_simulator/calls", self.calls),
            ("GET", "_simulator/settings", self.settings),
            ("POST", "_simulator/settings", self.change_settings),
            ("POST", "_simulator/faults", self.add_faults),
            ("POST", "_simulator/inbound", self.inbound),
            ("POST", "_simulator/tokens/revoke", self.revoke),
            ("POST", "_simulator/assign", self.assign),
            ("POST", "_simulator/unassign", self.unassign),
            ("POST", "_simulator/status", self.set_status),
            ("POST", "_simulator/notify", self.notify),
            ("POST", "_simulator/reset", self.reset),
        ]
        return [Route(method, template, handler) for method, template, handler in endpoints]

    def page(self, *_: object) -> Reply:
        """Show the page for people."""
        return Reply(status=200, body=PAGE, content_type="text/html; charset=utf-8")

    def journal(self, *_: object) -> Reply:
        """List every accepted send, in order."""
        return json_reply(200, self._account.journal.entries)

    def messages(self, *_: object) -> Reply:
        """List the latest messages in and out, the newest first."""
        return json_reply(200, [self._shown(message) for message in self._account.history.latest(_SHOWN)])

    def notifications(self, *_: object) -> Reply:
        """List what was posted to webhooks, and how that went."""
        listed = [
            {"type": note.type, "id": note.id, "attempts": note.attempts, "status": note.status}
            for note in self._account.notifier.past
        ]
        return json_reply(200, listed)

    def stats(self, *_: object) -> Reply:
        """Count what was asked and answered."""
        counted = dict.fromkeys(("requests", "sends", "accepted", "token_requests"), 0)
        waiting = {"faults_waiting": self._account.faults.waiting()}
        return json_reply(200, counted | dict(self._account.stats) | waiting)

    def calls(self, *_: object) -> Reply:
        """List the latest calls, when they came and how they were answered."""
        listed = [
            {name: getattr(call, name) for name in RecordedCall.__slots__} for call in self._account.calls
        ]
        return json_reply(200, listed)

    def settings(self, *_: object) -> Reply:
        """Show the settings as they are now."""
        return json_reply(200, self._account.settings.model_dump(mode="json"))

    def change_settings(self, request: SimulatorRequest, *_: str) -> Reply:
        """Change some settings."""
        changes = _parse(lambda: _OBJECT.validate_json(request.body))
        self._account.settings = _parse(lambda: self._account.settings.changed(dict(changes)))
        return self.settings()

    def add_faults(self, request: SimulatorRequest, *_: str) -> Reply:
        """Plan faults for the next sends, or with `?on=` for other calls."""
        target = next((target for target in TARGETS if target == request.query.get("on", "send")), None)
        if target is None:
            raise control_error(f"on must be one of {', '.join(TARGETS)}")
        self._account.faults.add(target, _parse(lambda: parse_faults(request.body)))
        return json_reply(200, {"faults_waiting": self._account.faults.waiting()})

    def inbound(self, request: SimulatorRequest, *_: str) -> Reply:
        """Let an inbound SMS happen."""
        sms = _parse(lambda: Inbound.model_validate_json(request.body))
        local = self._account.local_number(sms.to)
        message = self._account.receive(number_of(sms.sender, "from"), local, sms.message, sms.age)
        return json_reply(201, {"message_id": message.id})

    def revoke(self, *_: object) -> Reply:
        """Let no token count any more."""
        return json_reply(200, {"revoked": self._account.tokens.revoke()})

    def assign(self, request: SimulatorRequest, *_: str) -> Reply:
        """Give the account a number."""
        number = _parse(lambda: Number.model_validate_json(request.body)).number
        if number not in self._account.numbers:
            self._account.numbers.append(number_of(number, "number"))
        return json_reply(200, {"numbers": self._account.numbers})

    def unassign(self, request: SimulatorRequest, *_: str) -> Reply:
        """Take a number from the account; its subscriptions are cancelled, and their webhooks notified."""
        number = _parse(lambda: Number.model_validate_json(request.body)).number
        return json_reply(200, {"notified": self._account.unassign(number), "numbers": self._account.numbers})

    def set_status(self, request: SimulatorRequest, *_: str) -> Reply:
        """Decide what became of a message."""
        wanted = _parse(lambda: Status.model_validate_json(request.body))
        message = self._account.history.find(wanted.message_id)
        if message is None:
            raise control_error("no message has this id")
        message.status = wanted.status
        notified = (
            self._account.notify_subscribers(message.local, notifications.of_status(message))
            if wanted.notify
            else 0
        )
        return json_reply(200, {"notified": notified})

    def notify(self, request: SimulatorRequest, *_: str) -> Reply:
        """Post any object to every channel."""
        note = _parse(lambda: _OBJECT.validate_json(request.body))
        channels = self._account.subscriptions.channels(self._account.clock.now())
        for channel in channels.values():
            self._account.notify(channel, dict(note))
        return json_reply(200, {"notified": len(channels)})

    def reset(self, *_: object) -> Reply:
        """Begin anew."""
        self._account.reset()
        return Reply(status=204)

    def _shown(self, message: SimulatedMessage) -> dict[str, object]:
        return {
            "message_id": message.id,
            "direction": message.direction.lower(),
            "remote_address": message.remote,
            "local_address": message.local,
            "message": message.text,
            "status": self._account.status_of(message),
            "at": int(message.at * 1000),
        }


def _parse(read: Callable[[], T]) -> T:
    """Return what `read` reads, or refuse with the reasons in words."""
    try:
        return read()
    except ValidationError as error:
        reasons = [f"{'.'.join(map(str, e['loc'])) or 'body'}: {e['msg']}" for e in error.errors()]
        raise control_error("; ".join(reasons)) from error
    except ValueError as error:
        raise control_error(str(error)) from error
