"""Servers to test on, and what can be known about them and the machine."""

from eventmark.server.dsn import redact
from eventmark.server.provision import Server, provision

__all__ = ["Server", "provision", "redact"]
