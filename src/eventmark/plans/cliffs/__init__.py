"""Where a statement's plan falls over: every statement asked under every condition, and what avoids the fall."""
