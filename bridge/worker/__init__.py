"""The worker: takes commands from the queue, calls the provider for each, and publishes the outcomes.

`delivery` has the order of the steps, `actions` the steps that it yields, and `executor` carries them out.
"""
