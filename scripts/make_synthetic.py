"""Write synthetic clips with known motion, box and interval, one folder per class."""

import argparse

from keras_attn.datasets.synthetic import write_dataset

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", help="folder to write; ROOT.json gets the truth")
    parser.add_argument("--scenes", type=int, default=60, help="scenes, each filmed once per class")
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    truth = write_dataset(options.root, options.scenes, options.seed, frames=options.frames)
    print(f"written: {options.root} and {truth}")
