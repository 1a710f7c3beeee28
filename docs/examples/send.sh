#!/bin/sh
# Ask SMS Bridge to send one SMS. Needs rabbitmqadmin and the broker's management plugin.
# rabbitmqadmin exits 0 even if no queue is bound, so the script checks its output.
id=$(python3 -c 'import uuid; print(uuid.uuid4())')
rabbitmqadmin "$@" publish exchange=sms.commands routing_key=send \
    properties='{"delivery_mode": 2, "content_type": "application/json"}' \
    payload='{"id": "'"$id"'", "destination_address": "+16131234567", "message": "Your code is 123456"}' |
    grep -qx 'Message published' && echo "$id"
