//! What a frame costs, in instructions: a loop for `valgrind --tool=callgrind` to count.
//!
//! `decode_cost <framer|trickle|reader|value> <case> <frames>` decodes the same frame again and again. Run it with two numbers
//! of frames and divide the difference: `examples/decode_cost.sh` does that for every case and prints the table.

use std::hint::black_box;
use std::process::ExitCode;

use bytes::{Bytes, BytesMut};
use romaine_resp::{Framer, Limits, Reader, Scan, Token, write_array_header, write_bulk};

fn wire(case: &str) -> Option<BytesMut> {
    let mut out = BytesMut::new();
    match case {
        "bulk16" => write_bulk(&mut out, b"0123456789abcdef"),
        "ok" => out.extend_from_slice(b"+OK\r\n"),
        "queued" => out.extend_from_slice(b"+QUEUED\r\n"),
        "one" => out.extend_from_slice(b":1\r\n"),
        "minus2" => out.extend_from_slice(b":-2\r\n"),
        "nil2" => out.extend_from_slice(b"$-1\r\n"),
        "nil3" => out.extend_from_slice(b"_\r\n"),
        "double" => out.extend_from_slice(b",3.25\r\n"),
        "wrongtype" => {
            out.extend_from_slice(b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n");
        }
        "pair" => {
            write_array_header(&mut out, 2);
            write_bulk(&mut out, b"0123456789abcdef");
            write_bulk(&mut out, b"0123456789abcdef");
        }
        "mget1000" => {
            write_array_header(&mut out, 1_000);
            for _ in 0..1_000 {
                write_bulk(&mut out, b"0123456789abcdef");
            }
        }
        "line60000" => out.extend_from_slice(&[b"+", &[b'x'; 60_000][..], b"\r\n"].concat()),
        "bulk60000" => write_bulk(&mut out, &[b'x'; 60_000]),
        // As `XRANGE` and `SCAN` answer: arrays in an array.
        "nested100" => {
            write_array_header(&mut out, 100);
            for _ in 0..100 {
                write_array_header(&mut out, 2);
                write_bulk(&mut out, b"0123456789abcdef");
                write_bulk(&mut out, b"0123456789abcdef");
            }
        }
        _ => return None,
    }
    Some(out)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [decoder, case, frames] = &arguments[..] else {
        eprintln!("usage: decode_cost <framer|trickle|reader|value> <case> <frames>");
        return ExitCode::from(2);
    };
    let (Some(buf), Ok(frames)) = (wire(case), frames.parse::<u32>()) else {
        eprintln!("no such case, or not a number: {case} {frames}");
        return ExitCode::from(2);
    };
    let frame = buf.freeze();
    let done = match decoder.as_str() {
        "framer" => framer(&frame, frames),
        "trickle" => trickle(&frame, frames),
        "reader" => reader(&frame, frames),
        "value" => value(&frame, frames),
        _ => false,
    };
    if done { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn framer(frame: &Bytes, frames: u32) -> bool {
    let mut framer = Framer::new(Limits::default());
    (0..frames).all(|_| matches!(framer.scan(black_box(frame)), Ok(Scan::Complete { .. })))
}

/// The frame comes byte by byte: what is walked already must not be walked again.
fn trickle(frame: &Bytes, frames: u32) -> bool {
    let mut framer = Framer::new(Limits::default());
    (0..frames).all(|_| {
        let scans = (0..=frame.len()).map(|end| framer.scan(black_box(&frame[..end])));
        scans.filter(|scan| matches!(scan, Ok(Scan::Complete { .. }))).count() == 1
    })
}

/// As a typed reply does: borrowed slices into a `Vec` that is reused.
fn reader(frame: &Bytes, frames: u32) -> bool {
    let mut parts: Vec<&[u8]> = Vec::with_capacity(1_000);
    (0..frames).all(|_| {
        parts.clear();
        let mut reader = Reader::shared(black_box(frame));
        let mut left = 1;
        while left > 0 {
            left -= 1;
            match reader.token() {
                Ok(Token::Array(count)) => left += count,
                Ok(Token::Bulk(data) | Token::Simple(data) | Token::Error(data)) => parts.push(data),
                Ok(_) => {}
                Err(_) => return false,
            }
        }
        black_box(&parts);
        reader.is_at_end()
    })
}

fn value(frame: &Bytes, frames: u32) -> bool {
    (0..frames).all(|_| black_box(Reader::shared(black_box(frame)).value()).is_ok())
}
