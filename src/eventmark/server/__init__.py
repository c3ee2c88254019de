"""Servers to test on, and what can be known about them and the machine."""

from eventmark.server.doctor import check_disk_space, examine, measure_fsync_ms
from eventmark.server.environment import host_environment, server_environment
from eventmark.server.monitor import Monitor
from eventmark.server.processes import ProcessTree
from eventmark.server.provision import Server, provision
from eventmark.server.relations import Relation, relations_now, relations_snapshot
from eventmark.server.statistics import StatementStatistics, statements_between, statements_snapshot
from eventmark.server.watch import Watch

__all__ = [
    "Monitor",
    "ProcessTree",
    "Relation",
    "Server",
    "StatementStatistics",
    "Watch",
    "check_disk_space",
    "examine",
    "host_environment",
    "measure_fsync_ms",
    "provision",
    "relations_now",
    "relations_snapshot",
    "server_environment",
    "statements_between",
    "statements_snapshot",
]
