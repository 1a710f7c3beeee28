"""The migrations of the ledger's tables, run by Alembic one revision after the other."""
