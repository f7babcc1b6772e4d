//! The API over TLS: certificates of both sides, what is said when one of them is wrong, and their renewal.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use fleet_api::tls::{IdentityFiles, Tls, TlsFiles};
use fleet_api::{Client, v2};
use futures_util::StreamExt as _;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};

use crate::desk::Desk;
use crate::world::{WAIT_LIMIT, World, block_on, eventually};

const PORT: u16 = 49_153;

/// When certificates are valid: from and to the begin of these years.
const NOW: (i32, i32) = (2020, 2200);
const PAST: (i32, i32) = (2020, 2021);

/// Who signs, with its certificate in `NAME.pem`.
struct Authority(Issuer<'static, KeyPair>);

impl Authority {
    fn new(folder: &Path, name: &str) -> Authority {
        let mut params = params(name, &[], NOW);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().expect("a key");
        write(folder, &format!("{name}.pem"), &params.self_signed(&key).expect("a certificate").pem());
        Authority(Issuer::new(params, key))
    }

    /// Writes `NAME.pem` and `NAME.key`: for servers at these addresses, or for clients if there are none.
    fn sign(&self, folder: &Path, name: &str, addresses: &[String], years: (i32, i32)) {
        let mut params = params(name, addresses, years);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if !addresses.is_empty() {
            // A fleetd also asks others.
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        let key = KeyPair::generate().expect("a key");
        let cert = params.signed_by(&key, &self.0).expect("a certificate");
        write(folder, &format!("{name}.pem"), &cert.pem());
        write(folder, &format!("{name}.key"), &key.serialize_pem());
    }
}

fn params(name: &str, addresses: &[String], (from, to): (i32, i32)) -> CertificateParams {
    let mut params = CertificateParams::new(addresses).expect("addresses");
    params.distinguished_name.push(DnType::CommonName, name);
    (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(to, 1, 1));
    params
}

/// By rename, so that whoever reads sees the old file or the new one.
fn write(folder: &Path, name: &str, text: &str) {
    let new = folder.join(format!("{name}.new"));
    fs::write(&new, text).and_then(|()| fs::rename(&new, folder.join(name))).expect("our file");
}

/// The machines' addresses.
fn addresses(world: &World) -> Vec<String> {
    world.machines().iter().map(|machine| machine.spec().address.to_string()).collect()
}

/// Adds keys to a fleetd's file.
fn configure(config: &Path, keys: &str) {
    let mut file = OpenOptions::new().append(true).open(config).expect("the configuration is there");
    file.write_all(keys.as_bytes()).expect("our file");
}

/// The keys for TLS with `NAME.pem` and `NAME.key`, and clients that `ca.pem` has signed.
fn keys(folder: &Path, name: &str) -> String {
    let folder = folder.display();
    format!("api_certfile = {folder}/{name}.pem\napi_keyfile = {folder}/{name}.key\napi_cafile = {folder}/ca.pem\n")
}

/// One machine whose fleetd listens with TLS at its address and at another one, which is not in its certificate `server`; `client`
/// is a client's. All files are on the desk.
fn secured() -> (World, Desk, Authority, SocketAddr, SocketAddr) {
    let mut world = World::new(1);
    let desk = world.desk();
    let ours = addresses(&world);
    let own: SocketAddr = (world.machines()[0].spec().address, PORT).into();
    let other: SocketAddr = SocketAddr::new("127.0.0.1".parse().expect("an address"), free_port());
    let authority = Authority::new(desk.path(), "ca");
    authority.sign(desk.path(), "server", &ours, NOW);
    authority.sign(desk.path(), "client", &[], NOW);
    let listen = format!("\nlisten = {},{own},{other}\n{}", world.endpoint(), keys(desk.path(), "server"));
    configure(&world.fleetd_config(), &listen);
    world.cluster().restart_fleetd().expect("it starts");
    (world, desk, authority, own, other)
}

/// A port at 127.0.0.1 that nobody listens at now.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port()
}

/// Lets fleetd read its configuration and files anew, and waits for its word.
fn reload(world: &World, word: &str) {
    let n_said = || world.fleetd_log().matches(word).count();
    let before = n_said();
    kill(Pid::from_raw(world.fleetd_pid().cast_signed()), Signal::SIGHUP).expect("it runs");
    eventually(word, || (before < n_said()).then_some(()));
}

const READ_ANEW: &str = "the configuration was read anew";

#[test]
fn every_command_works_over_tls() {
    let (_world, desk, _, own, _) = secured();
    let tls = format!("--endpoint https://{own} --ca-file ca.pem --cert-file client.pem --key-file client.key");
    desk.write("a.service", "[Service]\nExecStart=/bin/sh -c 'echo hello; exec sleep infinity'\n");
    desk.ok(&format!("fleetctl {tls} start a"));
    assert!(desk.ok(&format!("fleetctl {tls} journal a")).contains("hello"));
    assert!(desk.ok(&format!("fleetctl {tls} status a")).contains("Active: active (running)"));
    let variables = format!(
        "FLEETCTL_ENDPOINT=https://{own} FLEETCTL_CA_FILE=ca.pem FLEETCTL_CERT_FILE=client.pem FLEETCTL_ETCD_KEYFILE=client.key"
    );
    assert_eq!(desk.ok(&format!("{variables} fleetctl list-units --fields=unit --no-legend")), "a.service\n");
    desk.ok(&format!("{variables} fleetctl destroy a"));
}

/// Each says what is wrong, which file it is about, and what to do.
#[test]
fn what_is_wrong_with_certificates() {
    let (world, desk, authority, own, other) = secured();
    let stranger = Authority::new(desk.path(), "stranger");
    stranger.sign(desk.path(), "strange", &[], NOW);
    authority.sign(desk.path(), "old", &[], PAST);
    let asked = |address: SocketAddr, options: &str| {
        let ran = desk.fails(1, &format!("fleetctl --endpoint https://{address} {options} list-machines"));
        assert_eq!(ran.stdout, "", "{ran}");
        ran.stderr
    };
    #[track_caller]
    fn has(said: &str, words: [&str; 2]) {
        assert!(words.iter().all(|words| said.contains(words)), "not {words:?} in\n{said}");
    }
    let ours = "--cert-file client.pem --key-file client.key";
    has(&asked(own, ours), ["UnknownIssuer", "has with `--ca-file` or FLEETCTL_CA_FILE"]);
    has(&asked(own, &format!("--ca-file stranger.pem {ours}")), ["UnknownIssuer", "no certificate in `stranger.pem`"]);
    has(&asked(other, &format!("--ca-file ca.pem {ours}")), ["not valid for name", "subject alternative names"]);
    has(&asked(own, "--ca-file ca.pem"), ["CertificateRequired", "with `--cert-file` and `--key-file`"]);
    let strange = "--ca-file ca.pem --cert-file strange.pem --key-file strange.key";
    has(&asked(own, strange), ["alert", "does not accept `strange.pem`"]);
    has(&asked(own, "--ca-file ca.pem --cert-file old.pem --key-file old.key"), ["alert", "renew `old.pem`"]);
    let mixed = "--ca-file ca.pem --cert-file client.pem --key-file strange.key";
    has(&asked(own, mixed), ["cannot set up TLS", "`strange.key` is not the key of the certificate in `client.pem`"]);
    has(&asked(own, "--ca-file nowhere.pem"), ["cannot read `nowhere.pem`", "No such file"]);
    has(&asked(own, "--ca-file client.key"), ["`client.key` has no certificate in PEM format", "cannot set up TLS"]);

    // Without TLS at the one end or at the other.
    let plain = desk.fails(1, &format!("fleetctl --endpoint http://{own} list-machines")).stderr;
    has(&plain, ["this address speaks TLS", "write `https://` in place of `http://`"]);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let address = listener.local_addr().expect("its address");
    let answers = std::thread::spawn(move || {
        let (mut client, _) = listener.accept().expect("a client");
        client.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").expect("it listens");
    });
    has(&asked(address, "--ca-file ca.pem"), ["corrupt message", "the server does not speak TLS"]);
    answers.join().expect("it was asked");

    // The server's own runs out while it runs.
    authority.sign(desk.path(), "server", &addresses(&world), PAST);
    reload(&world, READ_ANEW);
    has(&asked(own, &format!("--ca-file ca.pem {ours}")), ["certificate expired", "renew the server's certificate"]);
}

/// New files are in force for new connections, and those that are there go on.
#[test]
fn certificates_are_renewed_while_clients_are_connected() {
    let (world, desk, authority, own, _) = secured();
    let path = |name: &str| desk.path().join(name);
    let client = |ca: &str| {
        let identity = IdentityFiles { cert_file: path("client.pem"), key_file: path("client.key") };
        let tls = Tls::load(&TlsFiles { ca_file: Some(path(ca)), identity: Some(identity) }).expect("our files");
        let endpoint = format!("https://{own}").parse().expect("an endpoint");
        Client::builder(endpoint).timeout(Some(WAIT_LIMIT)).tls(tls).build().expect("a client")
    };
    block_on(async {
        // Another CA for the server, and the old one for clients.
        let new = Authority::new(desk.path(), "new-ca");
        let (with_old, with_new) = (client("ca.pem"), client("new-ca.pem"));
        let request = v2::WatchRequest { units: vec!["a.service".to_owned()], revision: 0 };
        let mut events = with_old.watch(&request).await.expect("a watch");
        events.next().await.expect("the first look").expect("an event");
        assert!(with_new.version().await.is_err(), "nobody knows the new one yet");

        new.sign(desk.path(), "server", &addresses(&world), NOW);
        reload(&world, READ_ANEW);
        with_new.version().await.expect("the new certificate is shown");
        assert!(client("ca.pem").version().await.is_err(), "the old one is not shown any more");

        // What cannot be used changes nothing.
        write(desk.path(), "server.key", "nonsense\n");
        reload(&world, "so all stays as it was: `");
        client("new-ca.pem").version().await.expect("still the new certificate");
        authority.sign(desk.path(), "server", &addresses(&world), NOW);
        reload(&world, READ_ANEW);

        desk.write("a.service", "[Service]\nExecStart=/bin/sleep infinity\n");
        desk.ok("fleetctl start a");
        let seen = async {
            while let Some(event) = events.next().await {
                if event.expect("the connection goes on").name == "a.service" {
                    return;
                }
            }
            panic!("the watch ended");
        };
        tokio::time::timeout(WAIT_LIMIT, seen).await.expect("news over the connection from before");
    });
}

/// One fleetd asks another one by TLS, and shows a certificate where it does.
#[test]
fn daemons_ask_each_other_over_tls() {
    let mut world = World::on_etcd(2);
    let (desk, ours) = (world.desk(), addresses(&world));
    let authority = Authority::new(desk.path(), "ca");
    let configs: Vec<_> = world.cluster().fleetds().iter().map(|fleetd| (fleetd.config(), fleetd.endpoint())).collect();
    for ((config, unix), address) in configs.iter().zip(&ours) {
        authority.sign(desk.path(), address, std::slice::from_ref(address), NOW);
        let own = format!("{address}:{PORT}");
        configure(
            config,
            &format!("\nlisten = {unix},{own}\nadvertise = https://{own}\n{}", keys(desk.path(), address)),
        );
    }
    world.cluster().restart_fleetd().expect("they start");
    desk.write("g.service", "[Service]\nExecStart=/bin/sleep infinity\n[X-Fleet]\nGlobal=true\n");
    desk.ok("fleetctl start g");
    for (_, unix) in &configs {
        let status = desk.ok(&format!("fleetctl --endpoint {unix} status g"));
        assert_eq!(status.matches("Active: active (running)").count(), 2, "{status}");
    }
    // A certificate of nobody's: the other one's words, and that machine only.
    let stranger = Authority::new(desk.path(), "stranger");
    stranger.sign(desk.path(), &ours[1], std::slice::from_ref(&ours[1]), NOW);
    world.cluster().restart_fleetd().expect("they start");
    let ran = desk.run(&format!("fleetctl --endpoint {} status g", configs[0].1));
    assert_eq!(ran.stdout.matches("Active: active (running)").count(), 1, "{ran}");
    assert!(ran.stdout.contains("invalid peer certificate: UnknownIssuer"), "{ran}");
}
