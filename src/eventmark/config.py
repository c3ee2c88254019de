"""Configuration of a run: defaults, eventmark.toml, flags; the later wins."""
