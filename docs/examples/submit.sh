#!/bin/sh
# Sends one command over HTTP and prints its id. While the bridge is unavailable, curl repeats it with the same id.
set -eu
id=$(uuidgen 2>/dev/null || cat /proc/sys/kernel/random/uuid)
curl --silent --show-error --fail --retry 10 --retry-connrefused --max-time 20 \
    --header "Authorization: $SUBMIT_AUTHORIZATION" \
    --header 'Content-Type: application/json' \
    --header "Idempotency-Key: \"$id\"" \
    --data '{"destination_address": "+16131234567", "message": "Your code is 123456"}' \
    "${SUBMIT_URL:-http://127.0.0.1:8081}/v1/messages" > /dev/null
echo "$id"
