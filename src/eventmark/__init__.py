"""Eventmark: the proving ground for PostgreSQL event stores."""

__version__ = "0.1.0"
