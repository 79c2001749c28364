"""From video files to clips: find, check, split, store, sample and feed them."""
