"""The token and the send: the two calls that everything begins with (wire reference 2 and 4.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.simulator import bodies
from bridge.simulator.addresses import number_of
from bridge.simulator.errors import duplicate, invalid_input
from bridge.simulator.http import Reply, json_reply
from bridge.simulator.router import Route
from bridge.simulator.tokens import parse_form

if TYPE_CHECKING:
    from bridge.simulator.history import SimulatedMessage
    from bridge.simulator.http import SimulatorRequest
    from bridge.simulator.state import Account

#: Destinations that begin like this are no valid addresses (SPEC section 9).
INVALID_PREFIX = "+1999"
_SMS = "cpaas/smsmessaging/v1/{}"


class SendEndpoints:
    """Gives out tokens and takes messages."""

    def __init__(self, account: Account) -> None:
        self._account = account

    def routes(self) -> list[Route]:
        """Return the endpoints of this file."""
        return [
            Route("POST", "cpaas/auth/v1/token", self.token, "token"),
            Route("POST", _SMS + "/outbound/{}/requests", self.send, "send"),
        ]

    def token(self, request: SimulatorRequest, *_: str) -> Reply:
        """Answer with tokens, or with what is wrong with the credentials."""
        account = self._account
        answer = account.tokens.issue(
            parse_form(request.body),
            user_id=account.settings.user_id,
            dids=",".join(account.numbers),
            lifetime=account.settings.token_lifetime,
            now=account.clock.now(),
        )
        return json_reply(200, answer)

    def send(self, request: SimulatorRequest, *captured: str) -> Reply:
        """Take one message to one destination."""
        _, sender = captured
        account = self._account
        names = ("address", "clientCorrelator", "outboundSMSTextMessage")
        body = bodies.wrapped(request, "outboundSMSMessageRequest", *names)
        address = _only_address(body)
        text = bodies.string(body, "outboundSMSTextMessage", "message")
        correlator = bodies.correlator(body)
        local = account.local_number(sender)
        remote = number_of(address)
        if remote.startswith(INVALID_PREFIX):
            raise invalid_input("address")
        self._check_correlator(correlator)
        return json_reply(201, _accepted(account, account.accept(remote, local, text), address, correlator))

    def _check_correlator(self, correlator: object) -> None:
        """Refuse a second use where correlators are keys."""
        if self._account.settings.correlator == "dedupe" and correlator is not None:
            if str(correlator) in self._account.correlators:
                raise duplicate("clientCorrelator", "outboundSMSMessageRequest")
            self._account.correlators.add(str(correlator))


def _only_address(body: dict[str, object]) -> str:
    """Return the one destination; "for v1, only one destination is supported" (wire reference 4.1)."""
    match body.get("address"):
        case [str() as address]:
            return address
        case _:
            raise invalid_input("address")


def _accepted(
    account: Account, message: SimulatedMessage, address: str, correlator: object
) -> dict[str, object]:
    """Return the provider's answer; the address in its outer `resourceURL` is the sender's, as in its fixtures."""
    base = f"{account.sms_url}/remoteAddresses"
    return {
        "outboundSMSMessageRequest": {
            "address": [address],
            "clientCorrelator": correlator,
            "deliveryInfoList": {
                "deliveryInfo": [{"address": address, "deliveryStatus": message.status}],
                "resourceURL": f"{base}/{message.remote}/messages/{message.id}/deliveryInfos",
            },
            "outboundSMSTextMessage": {"message": message.text},
            "resourceURL": f"{base}/{message.local}/messages/{message.id}",
            "senderAddress": message.local,
        }
    }
