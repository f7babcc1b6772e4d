//! TLS of the API, on both sides: towards clients, and towards the other machines' `fleetd` where this one asks them.

use std::sync::Arc;

use fleet_api::tls::{self, Tls, TlsError, TlsFiles};
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;

use crate::config::ServerFiles;

/// What the files said when they were read.
#[derive(Clone, Debug)]
pub struct Sides {
    /// Towards clients.
    pub server: Arc<ServerConfig>,
    /// Towards others that serve.
    pub client: Tls,
}

impl Sides {
    /// Reads the files.
    ///
    /// # Errors
    /// As [`TlsError`] says; nothing that could fail at the first client is left for it.
    pub fn load(files: &ServerFiles) -> Result<Sides, TlsError> {
        let ServerFiles { identity, ca_file } = files;
        let client = Tls::load(&TlsFiles { ca_file: ca_file.clone(), identity: Some(identity.clone()) })?;
        let begun = ServerConfig::builder_with_provider(tls::provider()).with_safe_default_protocol_versions();
        let begun = begun.expect("the provider knows TLS 1.2 and 1.3");
        let begun = match ca_file {
            None => begun.with_no_client_auth(),
            Some(path) => {
                let roots = Arc::new(tls::read_roots(path)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, tls::provider()).build();
                let wrong = |err: rustls::server::VerifierBuilderError| TlsError::Broken {
                    path: path.clone(),
                    what: "certificate",
                    reason: err.to_string(),
                };
                begun.with_client_cert_verifier(verifier.map_err(wrong)?)
            }
        };
        let (certs, key) = (tls::read_certificates(&identity.cert_file)?, tls::read_key(&identity.key_file)?);
        let mut server = begun.with_single_cert(certs, key).map_err(|err| tls::unusable(identity, &err))?;
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Sides { server: Arc::new(server), client })
    }
}
