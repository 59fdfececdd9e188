//! Any bytes, never framed: the reader does not panic, and says the same as a framer without limits.
#![no_main]

#[path = "../../crates/romaine-resp/tests/behaviour/properties.rs"]
#[expect(dead_code, reason = "the other target calls the rest")]
mod properties;

libfuzzer_sys::fuzz_target!(|input: &[u8]| properties::reader_input(input));
