//! What to do about trouble with TLS: which file it is about, and what has to be in it.

use fleet_api::Endpoint;
use fleet_api::tls::{TlsFiles, TlsTrouble};

/// The hint for `trouble` with `endpoint`, if there is something to be said.
pub fn hint(trouble: TlsTrouble, endpoint: &Endpoint, files: &TlsFiles) -> Option<String> {
    let ours = files.identity.as_ref().map(|identity| format!("`{}`", identity.cert_file.display()));
    let ours = ours.as_deref().unwrap_or("the certificate of `--cert-file`");
    let hint = match trouble {
        TlsTrouble::ServerExpired => {
            "renew the server's certificate (`api_certfile` in its fleet.conf, then `systemctl reload fleetd`), and look at the \
             clocks of both machines"
                .to_owned()
        }
        TlsTrouble::ServerName => format!(
            "write a name or address that the server's certificate has in `--endpoint`, or give the server one with that of {endpoint} \
             among its subject alternative names"
        ),
        TlsTrouble::ServerUnknown => match &files.ca_file {
            Some(path) => format!(
                "no certificate in `{}` has signed that of the server: name the file of the CA that has with `--ca-file`",
                path.display()
            ),
            None => "nobody whom this system trusts has signed the server's certificate: name the file of the CA that has with \
                     `--ca-file` or FLEETCTL_CA_FILE"
                .to_owned(),
        },
        TlsTrouble::ServerUnfit => {
            "give the server another certificate: a leaf, signed by a CA, for servers (extended key usage `serverAuth`)".to_owned()
        }
        TlsTrouble::ServerPlain => {
            "the server does not speak TLS: write `http://`, or let it (`api_certfile` in its fleet.conf)".to_owned()
        }
        TlsTrouble::ClientMissing => {
            "the server wants to know who asks: name a certificate that its CA has signed, and the key, with `--cert-file` and \
             `--key-file`"
                .to_owned()
        }
        TlsTrouble::ClientRefused => format!(
            "the server does not accept {ours}: the CA in its `api_cafile` has to have signed it, for clients (extended key usage \
             `clientAuth`)"
        ),
        TlsTrouble::ClientExpired => format!("renew {ours}: by the server's clock it is not valid now"),
        TlsTrouble::Other => return None,
    };
    Some(hint)
}
