//! The decisions of a Redis client as state machines without I/O and without a clock.
