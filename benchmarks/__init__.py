"""Measured speeds, at growing sizes: ``make bench``."""
