"""Jobs that run beside a process: backfill, receipts, subscriptions, pruning."""
