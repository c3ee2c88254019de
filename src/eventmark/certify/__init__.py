"""One question, one answer: every experiment that it takes, on one corpus and one server, and the criteria decided."""
