"""Training: from a data set and a configuration to a run folder."""
