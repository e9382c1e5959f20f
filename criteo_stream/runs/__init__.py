"""``RUN/``: its configuration, history and checkpoints."""
