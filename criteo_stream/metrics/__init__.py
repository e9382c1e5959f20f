"""AUC, log loss, NE and calibration: exact over rows and ranks, with intervals and plots."""
