"""Ask SMS Bridge to send one SMS, and print its outcome. Needs sms-bridge."""

import os
import sys

from bridge.client import Client, NoOutcomeYet, NotSent, OutcomeError

with Client(os.environ.get("AMQP_URL", "amqp://guest:guest@localhost:5672/%2f")) as sms:
    try:
        result = sms.send_and_wait(
            to="+16131234567",
            message="Your code is 123456",
            id="login-4711",  # two commands with one id are one SMS: derive it from what the SMS is about
            wait=float(os.environ.get("WAIT", "30")),
        )
        result.raise_for_status()
    except NotSent as error:
        sys.exit(f"{type(error).__name__}: {error}")
    except NoOutcomeYet as error:
        sys.exit(f"{error.result.sent.id} has no outcome yet")
    except OutcomeError as error:
        sys.exit(str(error))
for outcome in result.outcomes:
    print(result.sent.id, outcome.status, outcome.message_id)
