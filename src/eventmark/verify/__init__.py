"""The hunt for lost events: what was acknowledged held against what is stored and what was delivered."""

from eventmark.verify.checker import Fault, check
from eventmark.verify.history import Consumption, History, Outcome
from eventmark.verify.hunt import HuntPlan, hunt
from eventmark.verify.subject import Subject, engine_subject, store_subject

__all__ = [
    "Consumption",
    "Fault",
    "History",
    "HuntPlan",
    "Outcome",
    "Subject",
    "check",
    "engine_subject",
    "hunt",
    "store_subject",
]
