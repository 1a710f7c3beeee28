"""The Alembic environment: runs the revisions in the transaction of `bridge.adapters.store.schema`."""

from __future__ import annotations

from alembic import context

from bridge.adapters.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
