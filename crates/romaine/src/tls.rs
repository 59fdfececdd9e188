//! TLS by rustls.

use std::fmt;
use std::path::PathBuf;
#[cfg(feature = "tls")]
use std::sync::Arc;

use crate::config::Address;
use crate::error::{Error, Result};

/// How TLS is spoken: the system's root certificates, or a CA of your own; a client certificate; the name to verify.
///
/// Certificates are read from their files on every attempt to connect, so rotated ones are picked up.
#[derive(Clone, Default)]
pub struct Tls {
    ca_file: Option<PathBuf>,
    certificate_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    server_name: Option<String>,
}

impl Tls {
    /// Trusts the certificates in this PEM file instead of the system's.
    #[must_use]
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca_file = Some(path.into());
        self
    }

    /// Presents this client certificate (a PEM file with the whole chain); needs
    /// [`client_key_file`](Self::client_key_file) too.
    #[must_use]
    pub fn client_certificate_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.certificate_file = Some(path.into());
        self
    }

    /// The key of the client certificate (a PEM file).
    #[must_use]
    pub fn client_key_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.key_file = Some(path.into());
        self
    }

    /// The name that the server's certificate must bear, and that is sent as SNI. Default: the host of the address that the
    /// server is known by, also where another one is dialled ([`Config::address_map`](crate::Config::address_map)).
    #[must_use]
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("ca_file", &self.ca_file)
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}

#[cfg(not(feature = "tls"))]
impl Tls {
    pub(crate) fn validate(&self, _address: &Address) -> Result<()> {
        Err(Error::config("TLS is asked for, but this build has no TLS: enable the feature \"tls\""))
    }
}

#[cfg(feature = "tls")]
impl Tls {
    /// Everything that can be wrong before a connection is tried.
    pub(crate) fn validate(&self, address: &Address) -> Result<()> {
        match (&self.certificate_file, &self.key_file) {
            (Some(_), None) => return Err(Error::config("TLS has a client certificate (cert) but no key (key)")),
            (None, Some(_)) => return Err(Error::config("TLS has a client key (key) but no certificate (cert)")),
            _ => {}
        }
        self.name(address)?;
        self.client_config().map(drop)
    }

    pub(crate) fn name(&self, address: &Address) -> Result<rustls::pki_types::ServerName<'static>> {
        let host = match (&self.server_name, address) {
            (Some(name), _) => name.clone(),
            (None, Address::Tcp { host, .. }) => host.clone(),
            (None, Address::Unix(_)) => return Err(Error::config("TLS needs a host name to verify: set sni")),
        };
        match rustls::pki_types::ServerName::try_from(host.clone()) {
            Ok(name) => Ok(name),
            Err(error) => {
                Err(Error::config(format!("{host:?} cannot be verified by TLS: it is no host name or address"))
                    .with_source(error))
            }
        }
    }

    pub(crate) fn client_config(&self) -> Result<Arc<rustls::ClientConfig>> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::config("TLS cannot be set up").with_source(error))?
            .with_root_certificates(self.roots()?);
        let config = match (&self.certificate_file, &self.key_file) {
            (Some(certificate), Some(key)) => {
                let chain = certificates(certificate)?;
                let key = private_key(key)?;
                builder.with_client_auth_cert(chain, key).map_err(|error| {
                    Error::config("the client certificate and its key do not fit").with_source(error)
                })?
            }
            _ => builder.with_no_client_auth(),
        };
        Ok(Arc::new(config))
    }

    fn roots(&self) -> Result<rustls::RootCertStore> {
        let mut roots = rustls::RootCertStore::empty();
        match &self.ca_file {
            Some(path) => {
                for certificate in certificates(path)? {
                    roots.add(certificate).map_err(|error| {
                        Error::config(format!("{} holds no CA certificate", path.display())).with_source(error)
                    })?;
                }
            }
            None => {
                let (added, _ignored) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                if added == 0 {
                    return Err(Error::config(
                        "the system has no root certificates (package ca-certificates); install them or set ca",
                    ));
                }
            }
        }
        Ok(roots)
    }
}

#[cfg(feature = "tls")]
fn certificates(path: &std::path::Path) -> Result<Vec<rustls::pki_types::CertificateDer<'static>>> {
    use rustls::pki_types::pem::PemObject as _;
    let unreadable =
        |error| Error::config(format!("{} cannot be read as PEM certificates", path.display())).with_source(error);
    let list = rustls::pki_types::CertificateDer::pem_file_iter(path)
        .map_err(unreadable)?
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(unreadable)?;
    if list.is_empty() {
        return Err(Error::config(format!("{} holds no certificate", path.display())));
    }
    Ok(list)
}

#[cfg(feature = "tls")]
fn private_key(path: &std::path::Path) -> Result<rustls::pki_types::PrivateKeyDer<'static>> {
    use rustls::pki_types::pem::PemObject as _;
    rustls::pki_types::PrivateKeyDer::from_pem_file(path)
        .map_err(|error| Error::config(format!("{} cannot be read as a PEM key", path.display())).with_source(error))
}
