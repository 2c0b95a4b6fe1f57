"""Settings for every test: one torch thread per worker, and no Hypothesis deadlines."""

import os

# Two pytest workers share two cores; more threads a worker would only wait for each other.
# Set before torch is imported, hence here and not in a fixture.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from hypothesis import settings

# The first example of a property pays for imports, so a deadline per example says nothing.
settings.register_profile("dse", deadline=None, max_examples=50)
settings.load_profile("dse")
