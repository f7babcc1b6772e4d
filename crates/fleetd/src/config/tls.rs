//! What TLS of the API is made of: the keys `api_certfile`, `api_keyfile` and `api_cafile`.

use std::path::PathBuf;

use fleet_api::tls::IdentityFiles;

use super::{ConfigError, Settings};

/// The files. They are read at the start, and anew at each SIGHUP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFiles {
    /// What is shown to clients, and to other daemons that are asked.
    pub identity: IdentityFiles,
    /// Who signs the certificates that clients have to show, and those of other daemons. Without it clients need none.
    pub ca_file: Option<PathBuf>,
}

impl Settings {
    pub(super) fn tls(&mut self) -> Result<Option<ServerFiles>, ConfigError> {
        let needed = |key: &str| format!("{key} is needed, too");
        let identity = match (self.get("api_certfile"), self.get("api_keyfile"), self.get("api_cafile")) {
            (Some((cert, _)), Some((key, _)), _) => IdentityFiles { cert_file: cert.into(), key_file: key.into() },
            (Some((cert, from)), None, _) => {
                return Err(self.wrong("api_certfile", cert, from, needed("api_keyfile")));
            }
            (None, Some((key, from)), _) => return Err(self.wrong("api_keyfile", key, from, needed("api_certfile"))),
            // Else an operator would take sockets for protected that are not.
            (None, None, Some((ca, from))) => {
                return Err(self.wrong("api_cafile", ca, from, needed("api_certfile")));
            }
            (None, None, None) => return Ok(None),
        };
        let ca_file = self.path("api_cafile");
        if ca_file.is_none() {
            let warning = "without api_cafile clients need no certificate: whoever reaches the API's TCP sockets rules the cluster";
            self.warnings.push(warning.to_owned());
        }
        Ok(Some(ServerFiles { identity, ca_file }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Source, ini};
    use super::*;

    #[test]
    fn all_or_nothing() {
        let check = |file: &str, expected: &str| {
            let mut settings = Settings::default();
            for (name, (value, line)) in ini::parse(file).expect("a file").keys {
                let key = super::super::KEYS.iter().find(|key| key.name == name).expect("a key");
                settings.set(key, value, Source::File("FILE".into(), line));
            }
            let shown = match settings.tls() {
                Ok(None) => "none".to_owned(),
                Ok(Some(ServerFiles { identity, ca_file })) => {
                    let (cert, key) = (identity.cert_file.display(), identity.key_file.display());
                    format!("{cert} {key} {ca_file:?}, {} warnings", settings.warnings.len())
                }
                Err(err) => err.to_string(),
            };
            assert_eq!(shown, expected, "{file}");
        };
        check("", "none");
        check("api_certfile=/c\napi_keyfile=/k", "/c /k None, 1 warnings");
        check("api_certfile=/c\napi_keyfile=/k\napi_cafile=/a", "/c /k Some(\"/a\"), 0 warnings");
        check("api_certfile=/c", "api_certfile = `/c` (FILE, line 1): api_keyfile is needed, too");
        check("api_keyfile=/k", "api_keyfile = `/k` (FILE, line 1): api_certfile is needed, too");
        check("api_cafile=/a", "api_cafile = `/a` (FILE, line 1): api_certfile is needed, too");
    }
}
