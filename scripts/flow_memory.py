"""The memory that the flow of one large pair takes: what the process holds at its peak.

python scripts/flow_memory.py tvl1 4096
"""

import argparse
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from keras_attn.flow import METHODS, estimate
from keras_attn.utils.process import peak_memory

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("method", choices=METHODS)
    parser.add_argument("side", type=int, help="pixels of the square frames, a multiple of 8")
    options = parser.parse_args()
    cells = np.random.default_rng(0).integers(0, 256, (options.side // 8,) * 2, dtype="uint8")
    first = cells.repeat(8, 0).repeat(8, 1)[None]
    flow = estimate(first, np.roll(first, 3, 2), options.method)
    print(
        f"{options.method}, {options.side} x {options.side} pixels, moved by 3: median x "
        f"{np.median(flow[..., 0]):.2f}; peak {peak_memory():.2f} GiB"
    )
