"""The outbox: SMS that are committed together with your own rows."""

from django.db import models


class OutgoingSms(models.Model):
    id = models.CharField(primary_key=True, max_length=128)  # the command's id, such as order-4711-shipped
    to = models.CharField(max_length=32)
    message = models.TextField()
    created_at = models.DateTimeField(auto_now_add=True)
    done_at = models.DateTimeField(null=True, db_index=True)
    error = models.TextField(blank=True)
