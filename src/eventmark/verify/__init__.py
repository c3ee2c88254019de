"""The hunt for lost events: what was acknowledged held against what is stored and what was delivered."""

from eventmark.verify.checker import Fault, check
from eventmark.verify.history import Consumption, History, Outcome
from eventmark.verify.hunt import HuntPlan, hunt

__all__ = ["Consumption", "Fault", "History", "HuntPlan", "Outcome", "check", "hunt"]
