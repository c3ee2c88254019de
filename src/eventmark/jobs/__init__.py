"""What every experiment stands on: a store prepared and filled, both sides watched, a result."""
