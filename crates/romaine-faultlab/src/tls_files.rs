//! Certificates for a server with TLS, made anew for each test.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use tempfile::TempDir;

/// A certificate authority, a server certificate for `localhost`, `127.0.0.1` and `::1`, and a client certificate, as PEM
/// files in a directory that lives as long as the last clone of this.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    dir: Arc<TempDir>,
}

impl TlsFiles {
    /// Makes the certificates.
    ///
    /// # Errors
    ///
    /// When a certificate cannot be made or a file not be written.
    pub fn generate() -> anyhow::Result<Self> {
        Self::generate_for(&["localhost", "127.0.0.1", "::1"])
    }

    /// Makes the certificates, the server's for other names: for a test in which the name does not match.
    ///
    /// # Errors
    ///
    /// When a certificate cannot be made or a file not be written.
    pub fn generate_for(server_names: &[&str]) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("romaine-tls-").tempdir()?;
        let files = Self { dir: Arc::new(dir) };

        let mut authority = CertificateParams::default();
        authority.distinguished_name.push(DnType::CommonName, "romaine faultlab CA");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let authority_key = KeyPair::generate()?;
        write(&files.ca_cert(), &authority.self_signed(&authority_key)?.pem())?;
        let issuer = Issuer::new(authority, authority_key);

        let names = server_names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let mut server = CertificateParams::new(names)?;
        server.distinguished_name.push(DnType::CommonName, "romaine faultlab server");
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let server_key = KeyPair::generate()?;
        write(&files.server_cert(), &server.signed_by(&server_key, &issuer)?.pem())?;
        write(&files.server_key(), &server_key.serialize_pem())?;

        let mut client = CertificateParams::default();
        client.distinguished_name.push(DnType::CommonName, "romaine faultlab client");
        client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let client_key = KeyPair::generate()?;
        write(&files.client_cert(), &client.signed_by(&client_key, &issuer)?.pem())?;
        write(&files.client_key(), &client_key.serialize_pem())?;
        Ok(files)
    }

    /// The authority's certificate: what a client has to trust.
    #[must_use]
    pub fn ca_cert(&self) -> PathBuf {
        self.dir.path().join("ca.crt")
    }

    /// The server's certificate.
    #[must_use]
    pub fn server_cert(&self) -> PathBuf {
        self.dir.path().join("server.crt")
    }

    /// The server's private key.
    #[must_use]
    pub fn server_key(&self) -> PathBuf {
        self.dir.path().join("server.key")
    }

    /// The client's certificate, for a server that asks for one.
    #[must_use]
    pub fn client_cert(&self) -> PathBuf {
        self.dir.path().join("client.crt")
    }

    /// The client's private key.
    #[must_use]
    pub fn client_key(&self) -> PathBuf {
        self.dir.path().join("client.key")
    }
}

fn write(path: &Path, pem: &str) -> anyhow::Result<()> {
    fs::write(path, pem).with_context(|| format!("cannot write {}", path.display()))
}
