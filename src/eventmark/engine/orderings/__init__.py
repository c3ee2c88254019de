"""How consumers read the log without losing an event: policies, one module each, that share all else."""

from collections.abc import Mapping

from eventmark.engine.orderings.gap_aware import GAP_AWARE
from eventmark.engine.orderings.horizon import HORIZON
from eventmark.engine.orderings.naive import NAIVE
from eventmark.engine.orderings.ordering import Ordering, Reader
from eventmark.engine.orderings.table_lock import TABLE_LOCK
from eventmark.engine.orderings.tenant_lock import TENANT_LOCK

ORDERINGS: Mapping[str, Ordering] = {
    ordering.name: ordering for ordering in (HORIZON, GAP_AWARE, TABLE_LOCK, TENANT_LOCK, NAIVE)
}

__all__ = ["HORIZON", "NAIVE", "ORDERINGS", "Ordering", "Reader"]
