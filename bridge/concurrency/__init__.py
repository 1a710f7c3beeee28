"""Threads and event loops, independent of the product."""
