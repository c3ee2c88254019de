"""Pure judgement: what the evidence decides, and what limited a run."""
