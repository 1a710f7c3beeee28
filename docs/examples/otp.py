"""Send a one-time password that is worthless after two minutes. Needs sms-bridge."""

import os
import sys
from datetime import UTC, datetime, timedelta

from bridge.client import Client, InvalidCommand, NoOutcomeYet, NotSent

LIFETIME = timedelta(minutes=2)


def send_code(sms: Client, challenge: str, to: str, code: str) -> str:
    """Return what the page shows: sent, pending, or why the code will not arrive."""
    try:
        result = sms.send_and_wait(
            to=to,
            message=f"{code} is your code. It is valid for 2 minutes.",
            id=f"otp-{challenge}",  # the challenge, never the code: ids are logged
            expires_at=datetime.now(UTC) + LIFETIME,  # later it is not sent: the outcome is `expired`
            wait=5,
        )
    except InvalidCommand:
        return "invalid"
    except NotSent:
        return "unavailable"
    except NoOutcomeYet:
        return "pending"
    return result.status


if __name__ == "__main__":
    with Client(os.environ.get("AMQP_URL", "amqp://guest:guest@localhost:5672/%2f")) as sms:
        print(send_code(sms, *sys.argv[1:]))
