//! Getting a connection to a systemd manager, whichever way it is reached.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use zbus::connection::Builder;
use zbus::fdo::DBusProxy;
use zbus::message::Message;
use zbus::{Connection, MatchRule, MessageStream};

use super::peer;

/// The bus name of systemd.
pub(super) const SYSTEMD: &str = "org.freedesktop.systemd1";
/// The object path of the manager.
pub(super) const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
/// The interface of the manager.
pub(super) const MANAGER: &str = "org.freedesktop.systemd1.Manager";

/// How many received messages may wait for us. When they are that many, zbus stops reading and systemd keeps the rest; we never
/// stop taking, so this only has to cover a burst (one start is 12 signals).
const SIGNALS_QUEUED: NonZeroUsize = NonZeroUsize::new(8192).expect("not zero");

/// How long connecting, with its handshake, may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Where a systemd manager is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// The system's manager over the system bus; where there is no system bus, over `/run/systemd/private`, which only root may.
    System,
    /// The user's manager over the user bus; where there is none, over its private socket in `$XDG_RUNTIME_DIR`.
    User,
    /// A manager over the bus at this D-Bus address (`unix:path=/run/user/1000/bus`).
    Bus(String),
    /// A manager's private socket (`.../systemd/private`), from peer to peer.
    Socket(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::System => f.write_str("the system bus"),
            Address::User => f.write_str("the user bus"),
            Address::Bus(address) => f.write_str(address),
            Address::Socket(path) => write!(f, "{}", path.display()),
        }
    }
}

/// A fresh connection and all that arrives on it, replies too, in the order in which systemd sent it.
pub(super) struct Opened {
    pub(super) connection: Connection,
    pub(super) stream: MessageStream,
}

/// Connects and asks for signals.
///
/// # Errors
/// Why it did not work, in words, for each way that was tried.
pub(super) async fn open(address: &Address) -> Result<Opened, String> {
    match address {
        Address::System => either(on_bus(Builder::system()), Some(Path::new("/run/systemd/private").into())).await,
        Address::User => {
            let socket = std::env::var_os("XDG_RUNTIME_DIR").map(|dir| Path::new(&dir).join("systemd/private"));
            either(on_bus(Builder::session()), socket).await
        }
        Address::Bus(address) => limited(on_bus(Builder::address(address.as_str()))).await,
        Address::Socket(path) => limited(on_socket(path)).await,
    }
}

async fn either(bus: impl Future<Output = Result<Opened, String>>, socket: Option<PathBuf>) -> Result<Opened, String> {
    let no_bus = match limited(bus).await {
        Ok(opened) => return Ok(opened),
        Err(reason) => reason,
    };
    match socket {
        Some(path) if path.exists() => {
            limited(on_socket(&path)).await.map_err(|reason| format!("{no_bus}; {}: {reason}", path.display()))
        }
        _ => Err(no_bus),
    }
}

async fn limited(opening: impl Future<Output = Result<Opened, String>>) -> Result<Opened, String> {
    match tokio::time::timeout(CONNECT_LIMIT, opening).await {
        Ok(outcome) => outcome,
        Err(_) => Err(format!("no answer within {CONNECT_LIMIT:?}")),
    }
}

async fn on_socket(path: &Path) -> Result<Opened, String> {
    let builder = peer::builder(path).await.map_err(|err| err.to_string())?;
    let connection = builder.max_queued(SIGNALS_QUEUED).build().await.map_err(|err| err.to_string())?;
    // From peer to peer all signals come by themselves: no match rule, no Subscribe.
    let stream = MessageStream::from(&connection);
    Ok(Opened { connection, stream })
}

async fn on_bus(builder: Builder<'_>) -> Result<Opened, String> {
    let words = |err: zbus::Error| err.to_string();
    let connection = builder.max_queued(SIGNALS_QUEUED).build().await.map_err(words)?;
    // The stream comes first, so that no signal is lost between the match rule and it.
    let stream = MessageStream::from(&connection);
    let bus = DBusProxy::new(&connection).await.map_err(words)?;
    let rule = MatchRule::builder()
        .msg_type(zbus::message::Type::Signal)
        .sender(SYSTEMD)
        .path_namespace(MANAGER_PATH)
        .build()
        .map_err(words)?;
    bus.add_match_rule(rule).await.map_err(|err| err.to_string())?;
    // On a bus, the end of systemd is not the end of the connection: its name loses its owner.
    let rule = MatchRule::builder()
        .msg_type(zbus::message::Type::Signal)
        .sender("org.freedesktop.DBus")
        .member("NameOwnerChanged")
        .add_arg(SYSTEMD)
        .build()
        .map_err(words)?;
    bus.add_match_rule(rule).await.map_err(|err| err.to_string())?;
    connection.call_method(Some(SYSTEMD), MANAGER_PATH, Some(MANAGER), "Subscribe", &()).await.map_err(words)?;
    Ok(Opened { connection, stream })
}

/// A call of the manager's own interface.
pub(super) fn manager_call<B>(method: &str, body: &B) -> zbus::Result<Message>
where
    B: serde::Serialize + zbus::DynamicType,
{
    Message::method_call(MANAGER_PATH, method).destination(SYSTEMD).interface(MANAGER).build(body)
}

/// A call that reads one property.
pub(super) fn property_call(path: &str, interface: &str, property: &str) -> zbus::Result<Message> {
    Message::method_call(path, "Get")
        .destination(SYSTEMD)
        .interface("org.freedesktop.DBus.Properties")
        .build(&(interface, property))
}

/// A call that reads all properties of an interface.
pub(super) fn properties_call(path: &str, interface: &str) -> zbus::Result<Message> {
    Message::method_call(path, "GetAll")
        .destination(SYSTEMD)
        .interface("org.freedesktop.DBus.Properties")
        .build(&(interface,))
}
