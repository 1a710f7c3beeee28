"""The contract of the messages on the broker, key by key: the source of docs/contracts and of the keys in the code.

Changes are additive only within a major version: see `VERSION`.
"""
