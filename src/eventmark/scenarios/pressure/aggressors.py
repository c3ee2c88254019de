"""What an aggressor does, in a process of its own: kinds of work that a tenant can burden a server with."""

from __future__ import annotations

AGGRESSOR_APPLICATION = "eventmark-aggressor"
REPLAY_BATCH_EVENTS = 1000
LOOK_EVERY_S = 0.02
"""How often a process looks whether it is to stop."""
