"""Publishes the SMS of the outbox: `python manage.py relay_sms`. Several may run at once."""

import time

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import transaction
from django.utils.timezone import now

from bridge.client import Client, InvalidCommand, NotSent
from django_outbox.models import OutgoingSms


def relay(sms: Client) -> int:
    with transaction.atomic():
        waiting = OutgoingSms.objects.select_for_update(skip_locked=True).filter(done_at=None)
        rows = list(waiting.order_by("created_at")[:100])
        for row in rows:
            try:
                sms.send(to=row.to, message=row.message, id=row.id)
            except InvalidCommand as error:
                row.error = "; ".join(error.reasons)
            row.done_at = now()
            row.save()
    return len(rows)


class Command(BaseCommand):
    def add_arguments(self, parser):
        parser.add_argument("--once", action="store_true", help="end when the outbox is empty")

    def handle(self, *, once, **options):
        with Client(settings.SMS_BRIDGE_URL) as sms:
            while True:
                try:
                    relayed = relay(sms)
                except NotSent as error:  # rolled back: the rows are published again, with the same ids
                    self.stderr.write(f"{type(error).__name__}: {error}")
                    relayed = None
                if once and not relayed:
                    break
                if not relayed:
                    time.sleep(1)
