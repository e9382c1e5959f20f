"""Training every day: each new day is first predicted by yesterday's model, then learned from."""
