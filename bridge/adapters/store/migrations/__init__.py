"""How a ledger of an older bridge becomes one of this bridge: one revision after the other, run by Alembic."""
