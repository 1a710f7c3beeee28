"""A stand-in for the provider over HTTP, with faults on demand. Its wire facts are those of docs/wire-reference.md."""

from __future__ import annotations

from bridge.simulator.settings import SimulatorSettings
from bridge.simulator.simulator import Simulator

__all__ = ["Simulator", "SimulatorSettings"]
