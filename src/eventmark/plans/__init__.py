"""Every statement of a store EXPLAINed with real parameters, and its plan judged by the work it did."""

from eventmark.plans.conditions import PlanCase, sampled_cases
from eventmark.plans.examine import examine_plans

__all__ = ["PlanCase", "examine_plans", "sampled_cases"]
