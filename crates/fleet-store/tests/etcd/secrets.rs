//! Names, passwords and certificates.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use fleet_store::etcd::{Etcd, EtcdConfig, IdentityFiles, User};
use fleet_store::{Store as _, StoreError};

use crate::server::{PREFIX, Server, config, news, next, put, puts, store, watch, write};

fn user(name: &str, password: &str) -> Option<User> {
    Some(User { name: name.to_owned(), password: password.to_owned() })
}

async fn store_of(server: &Server, user: Option<User>) -> Etcd {
    Etcd::connect(EtcdConfig { user, ..config(&[server.url()]) }).await.expect("a store")
}

/// A server on which `fleet`, password `secret`, may use the prefix.
fn server_with_user() -> Server {
    let server = Server::start();
    for line in [
        "user add root:toor",
        "user grant-role root root",
        "role add fleet",
        &format!("role grant-permission fleet readwrite --prefix {PREFIX}"),
        "user add fleet:secret",
        "user grant-role fleet fleet",
        "auth enable",
    ] {
        server.etcdctl(&line.split(' ').collect::<Vec<_>>());
    }
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_logs_in_and_again_when_the_server_forgot() {
    let mut server = server_with_user();
    let store = store_of(&server, user("fleet", "secret")).await;
    let first = write(&store, "a", "1").await;
    let lease = store.grant(Duration::from_secs(600)).await.expect("a lease");
    let mut watch = watch(&store, next(first)).await;
    let forget = || {
        server.etcdctl(&["--user", "root:toor", "auth", "disable"]);
        server.etcdctl(&["auth", "enable"]);
    };
    forget();
    let second = write(&store, "a", "2").await;
    assert_eq!(news(&mut *watch).await, Ok((second, "a=2".to_owned())));
    assert_eq!(store.keep_alive(lease).await, Ok(()));
    // Now the watch is the first to need a new token, and etcd does not tell it so, but that it may not.
    forget();
    server.restart();
    let third = write(&store_of(&server, user("fleet", "secret")).await, "a", "3").await;
    assert_eq!(news(&mut *watch).await, Ok((third, "a=3".to_owned())));
    assert_eq!(store.revoke(lease).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_is_told_why() {
    let server = server_with_user();
    let rows = [
        (None, PREFIX, "this etcd wants a user"),
        (user("fleet", "wrong"), PREFIX, "check the user's name and password"),
        (user("nobody", "secret"), PREFIX, "check the user's name and password"),
        (user("fleet", "secret"), "/elsewhere/", "`readwrite` on prefix `/elsewhere/`"),
    ];
    for (user, prefix, expected) in rows {
        let shown = format!("{user:?} {prefix}");
        assert!(!shown.contains("secret"), "a password is in {shown}");
        let config = EtcdConfig { user, prefix: prefix.to_owned(), ..config(&[server.url()]) };
        let store = Etcd::connect(config).await.expect("a store");
        for answer in [
            store.commit(&puts(vec![put("a", "1")])).await.map(|_| ()),
            store.read(&crate::server::all()).await.map(|_| ()),
        ] {
            assert!(matches!(&answer, Err(StoreError::Refused(why)) if why.contains(expected)), "{shown}: {answer:?}");
        }
        let watch = store.watch(&crate::server::all(), fleet_store::Revision(1)).await.map(|_| ());
        assert!(matches!(watch, Err(StoreError::Refused(_))), "{shown}: {watch:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_does_no_harm_where_none_is_needed() {
    let server = Server::start();
    write(&store_of(&server, user("fleet", "secret")).await, "a", "1").await;
}

/// Certificates, made by `openssl` in a folder of the test's own.
struct Certificates {
    dir: tempfile::TempDir,
}

impl Certificates {
    /// An authority, and what it signed: a server at any loopback address that a test uses, and a client.
    fn new(addresses: &[&str]) -> Certificates {
        let certificates = Certificates { dir: tempfile::tempdir().expect("a folder") };
        certificates.authority("ca");
        let names = addresses.iter().map(|address| format!("IP:{address}")).collect::<Vec<_>>().join(",");
        certificates.signed("server", &format!("subjectAltName={names}\nextendedKeyUsage=serverAuth,clientAuth\n"));
        certificates.signed("client", "extendedKeyUsage=clientAuth\n");
        certificates
    }

    fn authority(&self, name: &str) {
        self.openssl(&[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
            "-subj",
            &format!("/CN={name}"),
            "-keyout",
            &format!("{name}.key"),
            "-out",
            &format!("{name}.pem"),
        ]);
    }

    fn signed(&self, name: &str, extensions: &str) {
        std::fs::write(self.path(&format!("{name}.ext")), extensions).expect("a file");
        let (key, request, pem) = (format!("{name}.key"), format!("{name}.csr"), format!("{name}.pem"));
        self.openssl(&[
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-subj",
            &format!("/CN={name}"),
            "-keyout",
            &key,
            "-out",
            &request,
        ]);
        self.openssl(&[
            "x509",
            "-req",
            "-in",
            &request,
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            "2",
            "-extfile",
            &format!("{name}.ext"),
            "-out",
            &pem,
        ]);
    }

    fn openssl(&self, args: &[&str]) {
        let output = Command::new("openssl").args(args).current_dir(self.dir.path()).output();
        let output = output.expect("openssl is installed: `cargo xtask test` does that");
        assert!(output.status.success(), "openssl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn arg(&self, option: &str, name: &str) -> String {
        format!("--{option}={}", self.path(name).display())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_checked() {
    let mut server = Server::prepare("https");
    let certificates = Certificates::new(&[server.address()]);
    certificates.authority("other");
    server.add_args([certificates.arg("cert-file", "server.pem"), certificates.arg("key-file", "server.key")]);
    server.run_alone();
    let with_ca = |name: &str| EtcdConfig { ca_file: Some(certificates.path(name)), ..config(&[server.url()]) };
    let store = Etcd::connect(with_ca("ca.pem")).await.expect("a store");
    let first = write(&store, "a", "1").await;
    assert_eq!(news(&mut *watch(&store, first).await).await, Ok((first, "a=1".to_owned())));
    // Somebody else's authority, and those that the system trusts.
    for config in [with_ca("other.pem"), config(&[server.url()])] {
        let config = EtcdConfig { request_timeout: Duration::from_millis(500), ..config };
        let answer = match Etcd::connect(config).await {
            Ok(store) => store.commit(&puts(vec![put("a", "2")])).await.map(|_| ()),
            // A system without any.
            Err(err) => Err(err),
        };
        let said = answer.expect_err("a certificate that is not trusted").to_string();
        assert!(said.contains("certificate") && !said.contains("may have happened"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_can_show_a_certificate() {
    let mut server = Server::prepare("https");
    let certificates = Certificates::new(&[server.address()]);
    server.add_args([
        certificates.arg("cert-file", "server.pem"),
        certificates.arg("key-file", "server.key"),
        certificates.arg("trusted-ca-file", "ca.pem"),
        "--client-cert-auth".to_owned(),
    ]);
    server.run_alone();
    let mut config = EtcdConfig { ca_file: Some(certificates.path("ca.pem")), ..config(&[server.url()]) };
    config.request_timeout = Duration::from_secs(1);
    let stranger = Etcd::connect(config.clone()).await.expect("a store");
    let answer = stranger.commit(&puts(vec![put("a", "1")])).await;
    assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
    let (cert_file, key_file) = (certificates.path("client.pem"), certificates.path("client.key"));
    config.identity = Some(IdentityFiles { cert_file, key_file });
    write(&Etcd::connect(config).await.expect("a store"), "a", "1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_settings_are_named() {
    let certificates = Certificates::new(&["127.0.0.1"]);
    let no_pem = certificates.path("no.pem");
    std::fs::write(&no_pem, "nothing\n").expect("a file");
    let said =
        |config: EtcdConfig| async move { Etcd::connect(config).await.map(|_| ()).map_err(|err| err.to_string()) };
    let url = |url: &str| config(&[url.to_owned()]);
    for wrong in ["localhost:2379", "ftp://h:1", "http://", "http://h:2379/v2", "http://h:x"] {
        let said = said(url(wrong)).await.expect_err("no endpoint");
        assert!(said.contains(&format!("`{wrong}`")), "{said}");
    }
    let none = said(config(&[])).await.expect_err("no endpoint");
    assert!(none.contains("name at least one"), "{none}");
    let file = |path: &Path| EtcdConfig { ca_file: Some(path.to_owned()), ..url("https://h:2379") };
    for path in [Path::new("/nowhere/ca.pem"), &no_pem] {
        let said = said(file(path)).await.expect_err("no certificate");
        assert!(said.contains(&path.display().to_string()), "{said}");
    }
    assert_eq!(said(file(&certificates.path("ca.pem"))).await, Ok(()));
    // The names of many hosts are resolved late: it need not be there yet.
    assert!(said(url("http://nobody.invalid:2379")).await.is_ok());
    drop(store(&["http://127.0.0.1:1".to_owned()]).await);
}
