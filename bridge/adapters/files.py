"""How many files this process may have open: each connection is one (setrlimit(2), RLIMIT_NOFILE)."""

from __future__ import annotations

import resource


def raise_limit(wanted: int) -> int:
    """Raise the limit to `wanted` open files, as far as the hard limit goes, and return what it is then.

    It is never lowered.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    best = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft == resource.RLIM_INFINITY or soft >= best:
        return wanted if soft == resource.RLIM_INFINITY else soft
    resource.setrlimit(resource.RLIMIT_NOFILE, (best, hard))
    return best


def reachable_limit() -> int | None:
    """Return how many files the process could have open; None where nothing limits them."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if hard == resource.RLIM_INFINITY else hard
