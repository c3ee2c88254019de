"""Aggregate types and their lifecycles: created, modified, then finalised, cancelled or left open."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CANCELLED_SHARE = 0.15
ABANDONED_SHARE = 0.15


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifecycle:
    """An aggregate type and its event types; ``share`` of all aggregates are of it."""

    aggregate_type: str
    share: float
    created: str
    modified: tuple[str, ...]
    finalised: str
    cancelled: str


LIFECYCLES = (
    Lifecycle(
        aggregate_type="Order",
        share=0.34,
        created="OrderPlaced",
        modified=("OrderLineAdded", "OrderLineChanged", "OrderAddressChanged", "OrderNoteAdded"),
        finalised="OrderCompleted",
        cancelled="OrderCancelled",
    ),
    Lifecycle(
        aggregate_type="Shipment",
        share=0.2,
        created="ShipmentPrepared",
        modified=("ShipmentScanned", "ShipmentRerouted", "ShipmentDelayed"),
        finalised="ShipmentDelivered",
        cancelled="ShipmentReturned",
    ),
    Lifecycle(
        aggregate_type="Invoice",
        share=0.18,
        created="InvoiceDrafted",
        modified=("InvoiceLineAdded", "InvoiceSent", "InvoiceReminded", "PaymentRegistered"),
        finalised="InvoiceSettled",
        cancelled="InvoiceVoided",
    ),
    Lifecycle(
        aggregate_type="User",
        share=0.14,
        created="UserRegistered",
        modified=("UserProfileChanged", "UserLoggedIn", "UserRoleGranted", "UserRoleRevoked"),
        finalised="UserDeactivated",
        cancelled="UserBlocked",
    ),
    Lifecycle(
        aggregate_type="Product",
        share=0.14,
        created="ProductIntroduced",
        modified=("ProductPriceChanged", "ProductStockAdjusted", "ProductDescribed", "ProductCategorised"),
        finalised="ProductDiscontinued",
        cancelled="ProductWithdrawn",
    ),
)

EVENT_TYPES: tuple[str, ...] = tuple(
    event_type
    for lifecycle in LIFECYCLES
    for event_type in (lifecycle.created, *lifecycle.modified, lifecycle.finalised, lifecycle.cancelled)
)
_CODES = {event_type: code for code, event_type in enumerate(EVENT_TYPES)}
_CREATED = np.array([_CODES[lifecycle.created] for lifecycle in LIFECYCLES])
_FINALISED = np.array([_CODES[lifecycle.finalised] for lifecycle in LIFECYCLES])
_CANCELLED = np.array([_CODES[lifecycle.cancelled] for lifecycle in LIFECYCLES])
_MODIFIED_COUNT = np.array([len(lifecycle.modified) for lifecycle in LIFECYCLES])


def draw_lifecycles(count: int, random: np.random.Generator) -> np.ndarray:
    """The place in ``LIFECYCLES`` of each of ``count`` aggregates."""
    shares = [lifecycle.share for lifecycle in LIFECYCLES]
    return np.asarray(random.choice(len(LIFECYCLES), size=count, p=shares))


def event_type_codes(
    lifecycle: np.ndarray, sequence: np.ndarray, length: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """Places in ``EVENT_TYPES``, one per event, of events ordered by aggregate.

    ``lifecycle``, ``sequence`` (from 1) and ``length`` (of the aggregate's stream) are given per event.
    """
    codes = _CREATED[lifecycle] + 1 + random.integers(0, 1 << 30, len(sequence)) % _MODIFIED_COUNT[lifecycle]
    last = (sequence == length) & (length > 1)
    outcome = random.random(len(sequence))
    cancelled = last & (outcome < CANCELLED_SHARE)
    finalised = last & (outcome >= CANCELLED_SHARE + ABANDONED_SHARE)
    codes = np.where(finalised, _FINALISED[lifecycle], codes)
    codes = np.where(cancelled, _CANCELLED[lifecycle], codes)
    return np.asarray(np.where(sequence == 1, _CREATED[lifecycle], codes))
