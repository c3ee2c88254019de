"""Two sides measured in turns, each by its own code and processes, until a sequential test decides."""
