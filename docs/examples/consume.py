"""Record each event of SMS Bridge once, in a database of your own. Needs sms-bridge."""

import json
import os
import signal
import sqlite3

from bridge.client import Consumer, Event

database = sqlite3.connect(os.environ.get("DATABASE", "sms.sqlite3"))
database.execute("CREATE TABLE IF NOT EXISTS events (id TEXT PRIMARY KEY, type TEXT, subject TEXT)")


def handle(event: Event) -> None:
    with database:  # store the id and your own changes in one transaction
        row = (event.id, event.type, event.subject)
        new = database.execute("INSERT OR IGNORE INTO events VALUES (?, ?, ?)", row).rowcount
    if new:
        print(event.type, json.dumps(event.subject), flush=True)  # as JSON: safe on any terminal


url = os.environ.get("AMQP_URL", "amqp://guest:guest@localhost:5672/%2f")
with Consumer(url, "billing.sms", ["sms.outbound.*", "sms.inbound.received"]) as events:
    signal.signal(signal.SIGTERM, lambda *_: events.stop())
    events.run(handle)  # acknowledges after `handle`; retries an exception, then dead-letters the event
