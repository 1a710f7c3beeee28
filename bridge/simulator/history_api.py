"""The history: threads, messages, status and deletes (wire reference 4.2 to 4.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.simulator.addresses import number_of
from bridge.simulator.errors import not_found
from bridge.simulator.history import cut, parse_page
from bridge.simulator.http import Reply, json_reply
from bridge.simulator.notifications import moment
from bridge.simulator.router import Route

if TYPE_CHECKING:
    from bridge.simulator.history import Page, SimulatedMessage, SimulatedThread
    from bridge.simulator.http import SimulatorRequest
    from bridge.simulator.state import Account

_THREADS = "cpaas/smsmessaging/v1/{}/remoteAddresses"
_THREAD = _THREADS + "/{}/localAddresses/{}"


class HistoryEndpoints:
    """Shows the history, as far as the lag lets it."""

    def __init__(self, account: Account) -> None:
        self._account = account

    def routes(self) -> list[Route]:
        """Return the endpoints of this file."""
        return [
            Route("GET", _THREADS, self.threads, "history"),
            Route("GET", _THREADS + "/{}", self.threads, "history"),
            Route("GET", _THREAD, self.thread, "history"),
            Route("DELETE", _THREAD, self.delete_thread, "history"),
            Route("GET", _THREAD + "/messages", self.messages, "history"),
            Route("GET", _THREAD + "/messages/{}", self.message, "history"),
            Route("DELETE", _THREAD + "/messages/{}", self.delete_message, "history"),
            Route("GET", _THREAD + "/messages/{}/status", self.status, "history"),
        ]

    def threads(self, request: SimulatorRequest, *captured: str) -> Reply:
        """List all threads, or those with one remote number; the one with the latest message first."""
        page = self._page(request)
        remote = number_of(captured[1], "remoteAddress") if captured[1:] else None
        visible = [
            (thread, messages)
            for thread in self._account.history.threads()
            if remote in (None, thread.remote) and (messages := self._wanted(thread, page))
        ]
        if remote is not None and not visible:
            raise not_found("remoteAddress")
        visible.sort(key=lambda pair: pair[1][-1].at, reverse=True)
        shown, pointer = cut(visible, page, lambda pair: f"{pair[0].remote}|{pair[0].local}")
        url = f"{self._account.sms_url}/remoteAddresses" + (f"/{remote}" if remote else "")
        listed: dict[str, object] = {"smsThread": [self._shown_thread(thread) for thread, _ in shown]}
        return json_reply(200, {"smsThreadList": _list(listed, url, pointer)})

    def thread(self, _: SimulatorRequest, *captured: str) -> Reply:
        """Show one thread."""
        return json_reply(200, {"smsThread": self._shown_thread(self._thread(captured))})

    def messages(self, request: SimulatorRequest, *captured: str) -> Reply:
        """List the messages of a thread, the newest first, and count what is listed as seen."""
        page = self._page(request)
        thread = self._thread(captured)
        shown, pointer = cut(reversed(self._wanted(thread, page)), page, lambda message: message.id)
        listed: dict[str, object] = {"smsMessage": [self._shown_message(message) for message in shown]}
        thread.pulled_at = self._account.clock.now()
        for message in shown:
            message.seen = True
        return json_reply(
            200, {"smsMessageList": _list(listed, f"{self._thread_url(thread)}/messages", pointer)}
        )

    def message(self, _: SimulatorRequest, *captured: str) -> Reply:
        """Show one message."""
        return json_reply(200, {"smsMessage": self._shown_message(self._message(captured))})

    def status(self, _: SimulatorRequest, *captured: str) -> Reply:
        """Say what became of a message."""
        return json_reply(200, {"status": self._account.status_of(self._message(captured))})

    def delete_message(self, _: SimulatorRequest, *captured: str) -> Reply:
        """Forget one message."""
        self._account.delete([self._message(captured)])
        return Reply(status=204)

    def delete_thread(self, _: SimulatorRequest, *captured: str) -> Reply:
        """Forget a thread; one without messages is a 404 (wire reference 4.4)."""
        self._account.delete(list(self._thread(captured).messages.values()))
        return Reply(status=204)

    def _page(self, request: SimulatorRequest) -> Page:
        return parse_page(request.query, self._account.settings.page_limit)

    def _until(self) -> float:
        return self._account.clock.now() - self._account.settings.lag

    def _thread(self, captured: tuple[str, ...]) -> SimulatedThread:
        remote, local = number_of(captured[1], "remoteAddress"), number_of(captured[2], "localAddress")
        thread = self._account.history.thread(remote, local)
        if thread is None or not thread.visible(self._until()):
            raise not_found("localAddress")
        return thread

    def _message(self, captured: tuple[str, ...]) -> SimulatedMessage:
        message = self._thread(captured).messages.get(captured[3])
        if message is None or message.at > self._until():
            raise not_found("messageId")
        return message

    def _wanted(self, thread: SimulatedThread, page: Page) -> list[SimulatedMessage]:
        visible = thread.visible(self._until())
        return [m for m in visible if m.at >= page.since and not (page.only_new and m.seen)]

    def _shown_thread(self, thread: SimulatedThread) -> dict[str, object]:
        units, messages = self._account.settings.units, thread.visible(self._until())
        return {
            "remoteAddress": thread.remote,
            "localAddress": thread.local,
            "threadDetails": {
                "firstMessageTime": moment(messages[0].at, units, usual="ms"),
                "lastMessageTime": moment(messages[-1].at, units, usual="ms"),
                "lastPullTime": moment(thread.pulled_at, units, usual="ms"),
                "lastText": messages[-1].text,
                "length": len(messages),
                "new": sum(not message.seen for message in messages),
            },
            "resourceURL": self._thread_url(thread),
        }

    def _shown_message(self, message: SimulatedMessage) -> dict[str, object]:
        return {
            "type": message.direction,
            "messageId": message.id,
            "message": message.text,
            "status": self._account.status_of(message),
            "dateTime": moment(message.at, self._account.settings.units),
            "resourceURL": self._account.message_url(message),
        }

    def _thread_url(self, thread: SimulatedThread) -> str:
        return f"{self._account.sms_url}/remoteAddresses/{thread.remote}/localAddresses/{thread.local}"


def _list(listed: dict[str, object], url: str, pointer: str | None) -> dict[str, object]:
    return listed | {"resourceURL": url} | ({"next": pointer} if pointer else {})
