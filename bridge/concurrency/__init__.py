"""Machinery for threads and event loops that knows nothing of the product."""
