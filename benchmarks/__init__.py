"""The bridge beside its peers: the same work, the same broker, the same stand-in for the provider, in one run."""
