"""The control: after the last number seen. It loses events, and is here to be caught.

A number is drawn before its transaction commits. A consumer that sees number 8 goes on after 8; when the
transaction that drew 7 commits, nobody comes back for it.
"""

from __future__ import annotations

from eventmark.engine.orderings.by_number import NumberReader
from eventmark.engine.orderings.ordering import Ordering

NAIVE = Ordering(
    name="naive",
    description="after the last number seen, whatever is still to commit: loses events",
    lossless=False,
    total_order=False,
    all_tenants=True,
    directories=("by_number",),
    reader=NumberReader,
    turn="select",
)
