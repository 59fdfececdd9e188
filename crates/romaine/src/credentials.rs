//! Who we are, asked anew for every attempt to connect.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use crate::error::Result;

/// A user and a password.
#[derive(Clone)]
pub struct Credentials {
    pub(crate) username: Option<String>,
    pub(crate) password: String,
}

impl Credentials {
    /// The default user's password.
    #[must_use]
    pub fn password(password: impl Into<String>) -> Self {
        Self { username: None, password: password.into() }
    }

    /// An ACL user and its password.
    #[must_use]
    pub fn user(username: impl Into<String>, password: impl Into<String>) -> Self {
        Self { username: Some(username.into()), password: password.into() }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).field("password", &"…").finish()
    }
}

/// The future of a [`CredentialsProvider`].
pub type CredentialsFuture<'a> = Pin<Box<dyn Future<Output = Result<Credentials>> + Send + 'a>>;

/// Gives the credentials for one attempt to connect: a secret store, a token service, a file that is rotated.
///
/// It is asked on every attempt, within `handshake_timeout`. An error fails the attempt, which is an event and is
/// retried; so is a panic.
pub trait CredentialsProvider: Send + Sync {
    /// The credentials to use now.
    fn credentials(&self) -> CredentialsFuture<'_>;
}

pub(crate) struct StaticCredentials(pub(crate) Credentials);

impl CredentialsProvider for StaticCredentials {
    fn credentials(&self) -> CredentialsFuture<'_> {
        let credentials = self.0.clone();
        Box::pin(async move { Ok(credentials) })
    }
}

impl<F> CredentialsProvider for F
where
    F: Fn() -> Result<Credentials> + Send + Sync,
{
    fn credentials(&self) -> CredentialsFuture<'_> {
        Box::pin(async move { self() })
    }
}
