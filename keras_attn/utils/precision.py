"""The dtype policy under which layers are made."""

import contextlib
import functools

import keras


@contextlib.contextmanager
def dtype_policy(policy=None):
    """Inside `with`, layers have `policy`, a name or a `keras.DTypePolicy`; None: as before."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(before if policy is None else keras.dtype_policies.get(policy))
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def with_dtype(constructor):
    """The constructor with a further argument `dtype`, the policy of all layers that it makes."""

    @functools.wraps(constructor)
    def wrapped(self, *args, dtype=None, **kwargs):
        with dtype_policy(dtype):
            constructor(self, *args, **kwargs)

    return wrapped
