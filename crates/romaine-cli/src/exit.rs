//! How the program ends.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use romaine::ErrorKind;

/// The statuses, for the help text.
pub(crate) const HELP: &str = "Exit status: 0 ok, 1 negative answer (a broken promise, a server that cannot serve now), \
                               2 usage or configuration, 3 unreachable, 4 refused, 5 internal error.";

/// What a subcommand answers: true is yes.
pub(crate) type Outcome = Result<bool, Failure>;

/// An error and the status it ends with.
#[derive(Debug)]
pub(crate) struct Failure {
    status: u8,
    error: anyhow::Error,
}

impl Failure {
    /// Something that should not happen.
    pub(crate) fn internal(error: anyhow::Error) -> Self {
        Self { status: 5, error }
    }

    /// What the user asked for cannot be done as asked.
    pub(crate) fn usage(error: anyhow::Error) -> Self {
        Self { status: 2, error }
    }

    /// The answer is no.
    pub(crate) fn negative(error: anyhow::Error) -> Self {
        Self { status: 1, error }
    }

    /// Nobody answers.
    pub(crate) fn unreachable(error: anyhow::Error) -> Self {
        Self { status: 3, error }
    }

    /// Somebody answers, and refuses.
    pub(crate) fn refused(error: anyhow::Error) -> Self {
        Self { status: 4, error }
    }

    /// The status that an error of the edge's crate stands for.
    pub(crate) fn edge(error: romaine_edge::Error) -> Self {
        use romaine_edge::ErrorKind as Kind;
        match error.kind() {
            Kind::Usage => Self::usage(error.into()),
            Kind::Unreachable => Self::unreachable(error.into()),
            Kind::Refused | Kind::Duplicate => Self::refused(error.into()),
            _ => Self::internal(error.into()),
        }
    }

    /// The status that an error of the client stands for.
    pub(crate) fn client(error: romaine::Error) -> Self {
        let status = match error.kind() {
            ErrorKind::Config | ErrorKind::Usage => 2,
            ErrorKind::Connect | ErrorKind::Closed | ErrorKind::Timeout => 3,
            // TLS speaks after TCP has: somebody is there, and is not who we trust, or does not trust us.
            ErrorKind::Auth | ErrorKind::Tls => 4,
            ErrorKind::Unavailable | ErrorKind::Server => 1,
            _ => 5,
        };
        Self { status, error: error.into() }
    }

    /// The status.
    pub(crate) const fn status(&self) -> u8 {
        self.status
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::internal(error)
    }
}

/// Says what clap has against the arguments, or the help that was asked for. It shows what it was given, and that may be a
/// URL with a password.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    let text = error.render();
    if error.use_stderr() {
        let text = if std::io::stderr().is_terminal() { text.ansi().to_string() } else { text.to_string() };
        let arguments = std::env::args_os().map(|argument| argument.to_string_lossy().into_owned());
        let _nobody_reads = write!(std::io::stderr(), "{}", masked(text, arguments));
    } else {
        let _nobody_reads = error.print();
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// The text without who and with what password in the URLs among the arguments. By the arguments and not by the look of
/// the text: a password may have spaces and quotes in it.
fn masked(text: String, arguments: impl Iterator<Item = String>) -> String {
    arguments.fold(text, |text, argument| {
        let from = argument.find("://").map(|at| at + 3);
        let secret = from.and_then(|from| argument.get(from..argument.rfind('@')?));
        match secret {
            Some(secret) if !secret.is_empty() => text.replace(&format!("://{secret}@"), "://***@"),
            Some(_) | None => text,
        }
    })
}

/// Says what went wrong, and gives the status.
pub(crate) fn end(outcome: Outcome) -> ExitCode {
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(failure) => {
            // The status says it too, when nobody reads.
            let _nobody_reads = writeln!(std::io::stderr(), "romaine: {:#}", failure.error);
            ExitCode::from(failure.status())
        }
    }
}
