use std::fs;
use std::path::Path;

use crate::properties::{frame_input, reader_input};

/// What `cargo fuzz` keeps under `/fuzz/corpus`. A packaged crate does not have it.
fn run(target: &str, property: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let Ok(entries) = fs::read_dir(&directory) else {
        assert!(!directory.join("../../Cargo.toml").exists(), "{} is missing", directory.display());
        return;
    };
    let mut inputs = 0;
    for entry in entries {
        let path = entry.expect("a directory entry").path();
        let input = fs::read(&path).expect("a corpus file");
        // The name of the input, should it panic.
        println!("{}", path.display());
        property(&input);
        inputs += 1;
    }
    assert!(inputs > 0, "{} is empty", directory.display());
}

#[test]
fn the_corpus_of_the_frame_target_holds() {
    run("frame", frame_input);
}

#[test]
fn the_corpus_of_the_reader_target_holds() {
    run("reader", reader_input);
}
