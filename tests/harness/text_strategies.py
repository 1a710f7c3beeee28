"""Any text that a message may hold, halves of surrogate pairs among it."""

from __future__ import annotations

from hypothesis import strategies as st

#: Hypothesis' own `text()` leaves surrogates out.
ANY_TEXT = st.text(st.characters())
