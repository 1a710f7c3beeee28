"""The worker: takes commands off the queue, has the provider send them, and publishes what became of each.

`delivery` says in which order; `actions` are what it asks for.
"""
