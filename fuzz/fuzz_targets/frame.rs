//! Bytes and where they are cut: the frames are the same, and the reader finds in them what the framer found.
#![no_main]

#[path = "../../crates/romaine-resp/tests/behaviour/properties.rs"]
#[expect(dead_code, reason = "the other target calls the rest")]
mod properties;

libfuzzer_sys::fuzz_target!(|input: &[u8]| properties::frame_input(input));
