"""What goes over the broker, key by key: the one source of the papers in docs/contracts and of the keys in the code.

Changes are additive only within a major version: see `VERSION`.
"""
