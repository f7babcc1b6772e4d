//! TLS of the API: certificates and keys from PEM files, and what went wrong between client and server, in words.
//!
//! TLS 1.2 and 1.3 by rustls. Certificates are always checked; there is no way around it.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{AlertDescription, CertificateError, ClientConfig, InconsistentKeys, RootCertStore};

/// The files that a client goes by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Who may sign the server's certificate; without it, whom the system trusts.
    pub ca_file: Option<PathBuf>,
    /// What the client shows, if the server asks who it is.
    pub identity: Option<IdentityFiles>,
}

/// A certificate, with those between it and its CA behind it, and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityFiles {
    /// PEM.
    pub cert_file: PathBuf,
    /// PEM, without a passphrase.
    pub key_file: PathBuf,
}

/// Why files are of no use for TLS.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum TlsError {
    #[error("cannot read `{path}`", path = path.display())]
    Read {
        path: PathBuf,
        #[source]
        err: std::io::Error,
    },
    #[error("`{path}` has no {what} in PEM format (`-----BEGIN ...-----`)", path = path.display())]
    Nothing { path: PathBuf, what: &'static str },
    #[error("`{path}` holds no {what} that can be understood: {reason}", path = path.display())]
    Broken { path: PathBuf, what: &'static str, reason: String },
    #[error("`{key}` is not the key of the certificate in `{cert}`", key = key.display(), cert = cert.display())]
    OtherKey { cert: PathBuf, key: PathBuf },
    #[error("the system has no certificates of those whom it trusts: {reason}")]
    NoSystemRoots { reason: String },
}

/// How a client does TLS: whom it trusts, and what it shows. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tls(Arc<ClientConfig>);

impl Tls {
    /// Reads the files. What is read stays as it is; for newer files there has to be another one.
    ///
    /// # Errors
    /// As [`TlsError`] says.
    pub fn load(files: &TlsFiles) -> Result<Tls, TlsError> {
        let roots = match &files.ca_file {
            Some(path) => read_roots(path)?,
            None => system_roots()?,
        };
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider());
        let verifier = verifier.build().map_err(|err| TlsError::NoSystemRoots { reason: err.to_string() })?;
        let begun = config_builder().with_webpki_verifier(verifier);
        let config = match &files.identity {
            None => begun.with_no_client_auth(),
            Some(identity) => {
                let (certs, key) = (read_certificates(&identity.cert_file)?, read_key(&identity.key_file)?);
                begun.with_client_auth_cert(certs, key).map_err(|err| unusable(identity, &err))?
            }
        };
        Ok(Tls(Arc::new(config)))
    }

    /// For a client that does no TLS: it trusts nobody.
    pub(crate) fn none() -> Tls {
        Tls(Arc::new(config_builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth()))
    }

    pub(crate) fn config(&self) -> ClientConfig {
        ClientConfig::clone(&self.0)
    }
}

fn config_builder() -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    builder.expect("the provider knows TLS 1.2 and 1.3")
}

/// The cryptography of both sides.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The certificates in a PEM file, of which there is at least one.
///
/// # Errors
/// As [`TlsError`] says.
pub fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    const WHAT: &str = "certificate";
    let text = read(path)?;
    let certs: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&text).collect();
    match certs {
        Ok(certs) if certs.is_empty() => Err(TlsError::Nothing { path: path.to_owned(), what: WHAT }),
        Ok(certs) => Ok(certs),
        Err(err) => Err(TlsError::Broken { path: path.to_owned(), what: WHAT, reason: err.to_string() }),
    }
}

/// The first key in a PEM file.
///
/// # Errors
/// As [`TlsError`] says.
pub fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    const WHAT: &str = "private key without passphrase";
    match PrivateKeyDer::from_pem_slice(&read(path)?) {
        Ok(key) => Ok(key),
        Err(pem::Error::NoItemsFound) => Err(TlsError::Nothing { path: path.to_owned(), what: WHAT }),
        Err(err) => Err(TlsError::Broken { path: path.to_owned(), what: WHAT, reason: err.to_string() }),
    }
}

/// The certificates in a PEM file as those of CAs that are trusted.
///
/// # Errors
/// As [`TlsError`] says.
pub fn read_roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for cert in read_certificates(path)? {
        roots.add(cert).map_err(|err| TlsError::Broken {
            path: path.to_owned(),
            what: "certificate",
            reason: err.to_string(),
        })?;
    }
    Ok(roots)
}

/// What a certificate and a key are no good for, by what rustls said of the two.
pub fn unusable(identity: &IdentityFiles, err: &rustls::Error) -> TlsError {
    match err {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            TlsError::OtherKey { cert: identity.cert_file.clone(), key: identity.key_file.clone() }
        }
        err => TlsError::Broken { path: identity.key_file.clone(), what: "key for TLS", reason: err.to_string() },
    }
}

fn system_roots() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Some systems carry certificates that nobody can read; the others are what counts.
    let (n_added, _) = roots.add_parsable_certificates(found.certs);
    match (n_added, found.errors.first()) {
        (0, Some(err)) => Err(TlsError::NoSystemRoots { reason: err.to_string() }),
        (0, None) => Err(TlsError::NoSystemRoots { reason: "package `ca-certificates` is not installed".to_owned() }),
        _ => Ok(roots),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|err| TlsError::Read { path: path.to_owned(), err })
}

/// What is wrong between client and server, as far as somebody can do something about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsTrouble {
    /// The server's certificate is no longer valid, or not yet.
    ServerExpired,
    /// It is another host's.
    ServerName,
    /// Nobody whom the client trusts has signed it.
    ServerUnknown,
    /// It is not for servers, or cannot be checked.
    ServerUnfit,
    /// What answers does not speak TLS.
    ServerPlain,
    /// The server wants to see a certificate, and the client showed none.
    ClientMissing,
    /// The server does not accept the client's certificate: nobody whom it trusts has signed it, or it is not for clients.
    ClientRefused,
    /// The client's certificate is no longer valid, or not yet.
    ClientExpired,
    /// Anything else.
    Other,
}

impl TlsTrouble {
    /// What is wrong with TLS, if that is what `err` or one of its causes is about.
    pub fn of(err: &(dyn Error + 'static)) -> Option<TlsTrouble> {
        let mut next = Some(err);
        while let Some(err) = next {
            if let Some(tls) = inner(err) {
                return Some(tls.into());
            }
            next = err.source();
        }
        None
    }
}

/// An [`std::io::Error`] passes over the error in it when it is asked for its cause.
fn inner<'a>(err: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    if let Some(tls) = err.downcast_ref::<rustls::Error>() {
        return Some(tls);
    }
    let io = err.downcast_ref::<std::io::Error>()?;
    inner(io.get_ref()?)
}

impl From<&rustls::Error> for TlsTrouble {
    fn from(err: &rustls::Error) -> TlsTrouble {
        use CertificateError as Cert;
        match err {
            rustls::Error::InvalidCertificate(cert) => match cert {
                Cert::Expired | Cert::ExpiredContext { .. } | Cert::NotValidYet | Cert::NotValidYetContext { .. } => {
                    TlsTrouble::ServerExpired
                }
                Cert::NotValidForName | Cert::NotValidForNameContext { .. } => TlsTrouble::ServerName,
                // A signature that is wrong is that of another CA with the same name.
                Cert::UnknownIssuer | Cert::BadSignature => TlsTrouble::ServerUnknown,
                _ => TlsTrouble::ServerUnfit,
            },
            rustls::Error::InvalidMessage(_) => TlsTrouble::ServerPlain,
            rustls::Error::AlertReceived(alert) => match *alert {
                AlertDescription::CertificateRequired => TlsTrouble::ClientMissing,
                AlertDescription::CertificateExpired => TlsTrouble::ClientExpired,
                AlertDescription::UnknownCA
                | AlertDescription::BadCertificate
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::CertificateRevoked
                | AlertDescription::CertificateUnknown
                | AlertDescription::DecryptError
                | AlertDescription::AccessDenied => TlsTrouble::ClientRefused,
                _ => TlsTrouble::Other,
            },
            _ => TlsTrouble::Other,
        }
    }
}
