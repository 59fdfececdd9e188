#!/bin/sh
# Instructions per frame, for every decoder and case of decode_cost.rs. Needs valgrind.
set -eu
target=${CARGO_TARGET_DIR:-$(cargo metadata --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')}
cargo build --quiet --release --package romaine-resp --example decode_cost
count() {
    valgrind --tool=callgrind --callgrind-out-file=/dev/null "$target/release/examples/decode_cost" "$1" "$2" "$3" 2>&1 |
        sed -n 's/.*Collected : \([0-9]*\).*/\1/p'
}
printf '%-10s %10s %10s %10s\n' case framer reader value
for case in bulk16 ok queued one minus2 nil2 nil3 double wrongtype pair nested100 mget1000; do
    printf '%-10s' $case
    for decoder in framer reader value; do
        few=$(count $decoder $case 100)
        many=$(count $decoder $case 1100)
        printf ' %10s' $(((many - few) / 1000))
    done
    printf '\n'
done
