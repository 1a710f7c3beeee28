"""Ask SMS Bridge to send one SMS. Needs kombu."""

import os
import uuid

from kombu.connection import Connection

command = {
    "id": str(uuid.uuid4()),  # two commands with one id are one SMS
    "destination_address": "+16131234567",
    "message": "Your code is 123456",
}

url = os.environ.get("AMQP_URL", "amqp://guest:guest@localhost:5672/%2f")
with (
    Connection(url, connect_timeout=5, transport_options={"confirm_publish": True}) as connection,
    connection.Producer() as producer,
):
    producer.publish(
        command,
        exchange="sms.commands",
        routing_key="send",
        serializer="json",
        delivery_mode="persistent",
        mandatory=True,
        timeout=10,
        confirm_timeout=10,
    )
print(command["id"])
