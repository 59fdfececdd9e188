//! Standard output, which whoever reads it may close at any time (`… | head`): that is no failure.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write as _};

/// Writes text as it is.
pub(crate) fn text(text: Arguments<'_>) {
    let mut out = std::io::stdout().lock();
    let written = out.write_fmt(text).and_then(|()| out.flush());
    if let Err(error) = written {
        drop(out);
        if error.kind() == ErrorKind::BrokenPipe {
            std::process::exit(0);
        }
        eprintln!("romaine: cannot write to the standard output: {error}");
        std::process::exit(5);
    }
}

/// Writes text, if anybody still reads: for a command whose work is more than what it says, and goes on without a reader.
pub(crate) fn offer(text: Arguments<'_>) {
    let mut out = std::io::stdout().lock();
    let _nobody_reads = out.write_fmt(text).and_then(|()| out.flush());
}

/// `println!`, but for a reader who may go.
macro_rules! say {
    ($($argument:tt)*) => {
        $crate::out::text(format_args!("{}\n", format_args!($($argument)*)))
    };
}

/// `println!`, but without need of a reader: see [`offer`].
macro_rules! remark {
    ($($argument:tt)*) => {
        $crate::out::offer(format_args!("{}\n", format_args!($($argument)*)))
    };
}

pub(crate) use {remark, say};
