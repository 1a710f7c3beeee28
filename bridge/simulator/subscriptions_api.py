"""Notification channels and subscriptions (wire reference 4.5, 4.6 and 6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.simulator import bodies
from bridge.simulator.channels import SimulatedChannel, SimulatedSubscription
from bridge.simulator.errors import invalid_input, not_found, service_error
from bridge.simulator.http import Reply, json_reply
from bridge.simulator.router import Route

if TYPE_CHECKING:
    from bridge.simulator.http import SimulatorRequest
    from bridge.simulator.router import Handler
    from bridge.simulator.state import Account

_SUBSCRIPTIONS = "cpaas/smsmessaging/v1/{}/inbound/subscriptions"
_RECEIPTS = "cpaas/smsmessaging/v1/{}/outbound/{}/subscriptions"
_CHANNELS = "cpaas/notificationchannel/v1/{}/channels"


class Subscribing:
    """Makes, shows and ends channels and subscriptions."""

    def __init__(self, account: Account) -> None:
        self._account = account

    def routes(self) -> list[Route]:
        """Return the endpoints of this file."""
        endpoints: list[tuple[str, str, Handler]] = [
            ("POST", _SUBSCRIPTIONS, self.subscribe),
            ("GET", _SUBSCRIPTIONS, self.subscriptions),
            ("GET", _SUBSCRIPTIONS + "/{}", self.subscription),
            ("DELETE", _SUBSCRIPTIONS + "/{}", self.unsubscribe),
            ("POST", _RECEIPTS, self.refuse_receipts),
            ("POST", _CHANNELS, self.open_channel),
            ("GET", _CHANNELS, self.channels),
            ("GET", _CHANNELS + "/{}", self.channel),
            ("PUT", _CHANNELS + "/{}", self.set_lifetime),
            ("PUT", _CHANNELS + "/{}/channelLifetime", self.set_lifetime),
            ("DELETE", _CHANNELS + "/{}", self.close_channel),
        ]
        return [Route(method, template, handler, "subscriptions") for method, template, handler in endpoints]

    def subscribe(self, request: SimulatorRequest, *_: str) -> Reply:
        """Subscribe a channel to a number, the default one where none is named."""
        names = ("callbackReference", "clientCorrelator", "destinationAddress")
        body = bodies.wrapped(request, "subscription", *names)
        channel_id = bodies.string(body, "callbackReference", "notifyURL")
        if channel_id not in self._channels:
            raise invalid_input("notifyURL")
        number = "default"
        if body.get("destinationAddress") is not None:
            number = bodies.string(body, "destinationAddress")
        subscription = SimulatedSubscription(
            channel_id=channel_id,
            number=self._account.local_number(number),
            correlator=bodies.correlator(body),
        )
        self._subscriptions[subscription.id] = subscription
        return json_reply(201, {"subscription": self._shown(subscription)})

    def subscriptions(self, *_: object) -> Reply:
        """List the subscriptions; an empty array if there is no subscription, since the SDKs fail without the key."""
        shown = [self._shown(subscription) for subscription in self._subscriptions.values()]
        listed = {"resourceURL": f"{self._account.sms_url}/inbound/subscriptions", "subscription": shown}
        return json_reply(200, {"subscriptionList": listed})

    def subscription(self, _: SimulatorRequest, *captured: str) -> Reply:
        """Show one subscription."""
        subscription = self._subscriptions.get(captured[1])
        if subscription is None:
            raise not_found("subscriptionId")
        return json_reply(200, {"subscription": self._shown(subscription)})

    def unsubscribe(self, _: SimulatorRequest, *captured: str) -> Reply:
        """End one subscription."""
        if self._subscriptions.pop(captured[1], None) is None:
            raise not_found("subscriptionId")
        return Reply(status=204)

    def refuse_receipts(self, *_: object) -> Reply:
        """Refuse: the provider's backend has no delivery receipts yet (wire reference 4.6)."""
        raise service_error(400, "SVC0283", "Delivery Receipt Notification not supported")

    def open_channel(self, request: SimulatorRequest, *_: str) -> Reply:
        """Open a channel to a webhook."""
        body = bodies.wrapped(
            request, "notificationChannel", "channelData", "channelType", "clientCorrelator"
        )
        channel_type = bodies.string(body, "channelType")
        if channel_type.lower() != "webhooks":
            raise invalid_input("channelType")
        url, authorization = self._webhook(body.get("channelData"))
        channel = SimulatedChannel(
            webhook_url=url,
            authorization=authorization,
            type=channel_type,
            correlator=bodies.correlator(body),
        )
        self._channels[channel.id] = channel
        return json_reply(201, {"notificationChannel": self._shown_channel(channel)})

    def channels(self, request: SimulatorRequest, *_: str) -> Reply:
        """List the channels, of one correlator or type where the query names it."""
        query = request.query
        shown = [
            self._shown_channel(channel)
            for channel in self._channels.values()
            if query.get("clientCorrelator", str(channel.correlator)) == str(channel.correlator)
            and query.get("channelType", channel.type).lower() == channel.type.lower()
        ]
        listed = {"notificationChannel": shown, "resourceURL": self._channels_url}
        return json_reply(200, {"notificationChannelList": listed})

    def channel(self, _: SimulatorRequest, *captured: str) -> Reply:
        """Show one channel."""
        return json_reply(200, {"notificationChannel": self._shown_channel(self._channel(captured))})

    def set_lifetime(self, request: SimulatorRequest, *captured: str) -> Reply:
        """Let a channel live for so many seconds from now, at either of the paths clients use."""
        channel = self._channel(captured)
        match bodies.wrapped(request, "notificationChannelLifetime", "channelLifetime"):
            case {"channelLifetime": int(lifetime)} if lifetime > 0:
                channel.expires_at = self._account.clock.now() + lifetime
                return json_reply(200, {"notificationChannelLifetime": {"channelLifetime": lifetime}})
            case _:
                raise invalid_input("channelLifetime")

    def close_channel(self, _: SimulatorRequest, *captured: str) -> Reply:
        """Close a channel. Its subscriptions stay, and lead nowhere."""
        if self._channels.pop(captured[1], None) is None:
            raise not_found("channelId")
        return Reply(status=204)

    @property
    def _channels(self) -> dict[str, SimulatedChannel]:
        return self._account.subscriptions.channels(self._account.clock.now())

    @property
    def _subscriptions(self) -> dict[str, SimulatedSubscription]:
        return self._account.subscriptions.subscriptions

    def _channel(self, captured: tuple[str, ...]) -> SimulatedChannel:
        channel = self._channels.get(captured[1])
        if channel is None:
            raise not_found("channelId")
        return channel

    def _webhook(self, data: object) -> tuple[str, str | None]:
        match data:
            case {"x-webhookURL": str(url), **rest} if self._account.may_post_to(url):
                pass
            case _:
                raise invalid_input("x-webhookURL")
        match rest:
            case {} if not rest:
                return url, None
            case {"x-authorization": str(secret)} if (
                len(rest) == 1 and secret.isascii() and secret.isprintable()
            ):
                return url, secret
            case _:
                raise invalid_input("channelData")

    def _shown(self, subscription: SimulatedSubscription) -> dict[str, object]:
        return {
            "callbackReference": {"notifyURL": subscription.channel_id},
            "clientCorrelator": subscription.correlator,
            "destinationAddress": subscription.number,
            "resourceURL": self._account.subscription_url(subscription),
        }

    def _shown_channel(self, channel: SimulatedChannel) -> dict[str, object]:
        secret = {} if channel.authorization is None else {"x-authorization": channel.authorization}
        return {
            "callbackURL": channel.id,
            "channelData": {"x-webhookURL": channel.webhook_url, **secret},
            "channelType": channel.type,
            "clientCorrelator": channel.correlator,
            "resourceURL": f"{self._channels_url}/{channel.id}",
        }

    @property
    def _channels_url(self) -> str:
        return f"/cpaas/notificationchannel/v1/{self._account.settings.user_id}/channels"
