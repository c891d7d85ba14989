"""Measured speeds, at growing sizes: ``make bench``."""

from contextlib import suppress

with suppress(ImportError):
    import triton  # noqa: F401  # part of PyTorch's CUDA build, which loads it late: after TensorFlow that crashes
