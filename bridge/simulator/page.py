"""The page for people: what came and went, and a form to let an inbound SMS happen. It needs nothing from elsewhere."""

from __future__ import annotations

from importlib.resources import files

PAGE = files("bridge.simulator").joinpath("page.html").read_bytes()
