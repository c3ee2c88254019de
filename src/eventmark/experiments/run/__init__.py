"""The main job and its parts: operations, plans, baselines."""
