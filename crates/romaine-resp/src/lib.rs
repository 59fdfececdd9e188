//! RESP2 and RESP3: bytes to values and back, with limits. No I/O and no clock.
