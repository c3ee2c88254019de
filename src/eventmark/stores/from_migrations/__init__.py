"""A store proposed from the migrations of somebody's application."""

from eventmark.stores.from_migrations.folder import Proposal, refusal, told, write_folder
from eventmark.stores.from_migrations.propose import propose

__all__ = ["Proposal", "propose", "refusal", "told", "write_folder"]
