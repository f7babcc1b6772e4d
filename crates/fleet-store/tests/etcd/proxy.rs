//! A piece of network between a store and its server, which a test can slow down, clog and cut.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What is done to what the server says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    /// Nothing.
    Pass,
    /// Each piece comes so much later.
    Delay(Duration),
    /// Nothing comes, as long as this lasts.
    Hold,
    /// Connections are cut, and new ones refused.
    Cut,
}

#[derive(Clone, Debug)]
struct Rule {
    answers: Answers,
    server: String,
    /// Connections that were accepted at a lower count are stranded.
    n_strandings: u64,
    /// Connections that were accepted at a lower count are cut.
    n_cuts: u64,
}

/// The piece of network. It ends when dropped.
pub struct Proxy {
    address: SocketAddr,
    rule: watch::Sender<Rule>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    /// To the server at this URL.
    pub async fn to(url: &str) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let rule = watch::Sender::new(Rule { answers: Answers::Pass, server: host(url), n_strandings: 0, n_cuts: 0 });
        let mut tasks = JoinSet::new();
        let rules = rule.subscribe();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.expect("a connection");
                connections.spawn(serve(client, rules.clone()));
            }
        });
        Proxy { address, rule, _tasks: tasks }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on.
    pub fn set(&self, answers: Answers) {
        self.rule.send_modify(|rule| rule.answers = answers);
    }

    /// Lets nothing more come on the connections that are open, without closing them, as a firewall does that has forgotten
    /// them; new ones work.
    pub fn strand(&self) {
        self.rule.send_modify(|rule| rule.n_strandings += 1);
    }

    /// Cuts what is open; new connections work.
    pub fn cut_once(&self) {
        self.rule.send_modify(|rule| rule.n_cuts += 1);
    }

    /// Cuts what is open; new connections go to the server at this URL.
    pub fn move_to(&self, url: &str) {
        self.rule.send_modify(|rule| rule.server = host(url));
    }
}

fn host(url: &str) -> String {
    url.trim_start_matches("http://").to_owned()
}

/// Errors end the connection, as they do in a real network.
async fn serve(client: TcpStream, mut rules: watch::Receiver<Rule>) {
    let Rule { server, n_strandings, n_cuts, .. } = rules.borrow_and_update().clone();
    let is_over = |rule: &Rule| rule.answers == Answers::Cut || rule.server != server || n_cuts < rule.n_cuts;
    if is_over(&rules.borrow()) {
        return;
    }
    let Ok(upstream) = TcpStream::connect(&server).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = upstream.into_split();
    let mut answer_rules = rules.clone();
    let answers = async {
        let mut piece = vec![0; 64 << 10];
        loop {
            let Ok(n @ 1..) = from_server.read(&mut piece).await else { return };
            loop {
                let rule = answer_rules.borrow_and_update().clone();
                let answers = if n_strandings < rule.n_strandings { Answers::Hold } else { rule.answers };
                match answers {
                    Answers::Pass => break,
                    Answers::Cut => return,
                    Answers::Delay(time) => break tokio::time::sleep(time).await,
                    Answers::Hold => {
                        if answer_rules.changed().await.is_err() {
                            return;
                        }
                    }
                }
            }
            if to_client.write_all(&piece[..n]).await.is_err() {
                return;
            }
        }
    };
    let mut over = rules.clone();
    tokio::select! {
        _ = tokio::io::copy(&mut from_client, &mut to_server) => (),
        () = answers => (),
        _ = over.wait_for(is_over) => (),
    }
}
