"""A stand-in for the provider over HTTP, with faults on demand, as docs/internals/wire-reference.md describes it."""

from __future__ import annotations

from bridge.simulator.settings import SimulatorSettings
from bridge.simulator.simulator import Simulator

__all__ = ["Simulator", "SimulatorSettings"]
