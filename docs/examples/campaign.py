"""Send one text to many customers at a steady pace: campaign.py NAME FILE. Needs sms-bridge.

The file has a header and two columns, customer and number. Run it again after any error.
"""

import csv
import os
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bridge.client import Client, InvalidCommand

PER_SECOND = 20
TEXT = "Our spring sale starts today. Reply STOP to opt out."

name, path = sys.argv[1:]
deadline = datetime.now(UTC) + timedelta(hours=4)
url = os.environ.get("AMQP_URL", "amqp://guest:guest@localhost:5672/%2f")
with Client(url) as sms, Path(path).open(newline="") as file:
    for row in csv.DictReader(file):
        try:
            sms.send(
                to=row["number"],
                message=TEXT,
                id=f"{name}-{row['customer']}",  # a second run sends nothing twice
                expires_at=deadline,
                metadata={"campaign": name},  # on every event, for the statistics
            )
        except InvalidCommand as error:
            print(row["customer"], error, file=sys.stderr)
        time.sleep(1 / PER_SECOND)
