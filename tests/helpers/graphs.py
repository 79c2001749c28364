"""Graphs of TensorFlow that run a few times each, which does not repay optimizing them."""


def leave_as_they_are():
    """For this process; what is optimized may differ from it in the last bit."""
    import tensorflow as tf

    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
