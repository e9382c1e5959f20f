"""Settings of the whole suite."""

import os

# Read when torch is loaded: compute threads that spin while they wait make training ten times
# slower on a busy machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
