"""Run folders, the training loop, checkpoints, optimizers, pre-training, feature extraction."""
