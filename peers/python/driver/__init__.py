"""The driver for redis-py."""
