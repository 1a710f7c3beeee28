"""Builds each process from settings, and has the use case of each command: the only room that knows every other one.

The commands import a use case when they carry it out: one that publishes a message must not wait for a web server, a
database and the provider's client to load.
"""
