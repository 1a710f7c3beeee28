"""Builds each process from settings: the only room that knows every other one."""

from bridge.bootstrap.ingest import run_ingest
from bridge.bootstrap.oneshot import check_topology, cpaas_client, declare_topology, send, tail_events
from bridge.bootstrap.simulator import run_simulator
from bridge.bootstrap.up import run_up
from bridge.bootstrap.worker import run_worker

__all__ = [
    "check_topology",
    "cpaas_client",
    "declare_topology",
    "run_ingest",
    "run_simulator",
    "run_up",
    "run_worker",
    "send",
    "tail_events",
]
