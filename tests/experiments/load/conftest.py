"""A load run by threads, as the generator's own tests have it."""

from tests.loadgen.conftest import loaded

__all__ = ["loaded"]
