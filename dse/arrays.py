"""Types of arrays, named once."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
