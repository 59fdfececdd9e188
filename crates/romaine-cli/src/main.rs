//! The program `romaine`.
fn main() {}
