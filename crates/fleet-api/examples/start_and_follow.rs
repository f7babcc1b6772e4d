//! Starts a unit, follows what happens to it until it runs, says where it is and why, and takes it away again.
//!
//!     fleetctl dev -- cargo run -p fleet-api --example start_and_follow

use std::error::Error;

use fleet_api::{Client, ClientError, Endpoint, EventFilter, Terms, v2};
use futures_util::StreamExt as _;

const NAME: &str = "example-of-fleet-api.service";

const TEXT: &str = "\
[Unit]
Description=An example of fleet-api

[Service]
ExecStart=/bin/sleep 1000
";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let endpoint = std::env::var("FLEETCTL_ENDPOINT").unwrap_or_else(|_| "unix:///run/fleet.sock".to_owned());
    for line in start_and_follow(endpoint.parse()?).await? {
        #[expect(clippy::print_stdout, reason = "it is a program for people")]
        {
            println!("{line}");
        }
    }
    Ok(())
}

/// What there is to tell of it.
pub async fn start_and_follow(endpoint: Endpoint) -> Result<Vec<String>, Box<dyn Error>> {
    let client = Client::new(endpoint, Some(std::time::Duration::from_secs(10)))?;
    let mut told = Vec::new();

    // Only if there is none of that name. Sent again under the same key, it would take effect once.
    let new = v2::UnitPut { text: TEXT.to_owned(), desired_state: Some(v2::State::Launched), ..v2::UnitPut::default() };
    let terms = Terms { idempotency_key: Some(format!("example-{}", std::process::id())), ..Terms::only_at(0) };
    let created = match client.put_unit(NAME, &new, &terms).await {
        Err(ClientError::Problem(problem)) if problem.is(v2::ProblemKind::PreconditionFailed) => {
            return Err(format!("{NAME} is there already: {problem}").into());
        }
        created => created?,
    };

    // From the revision of the change on, so that nothing is missed.
    let filter = EventFilter {
        kinds: vec![v2::EventKind::Placement, v2::EventKind::State],
        units: vec![NAME.to_owned()],
        after: Some(created.revision),
        ..EventFilter::default()
    };
    let mut events = client.events(&filter).await?;
    while let Some(event) = events.next().await {
        let event = event?;
        let machine = event.machine.unwrap_or_default();
        match (event.kind, event.state) {
            (v2::EventKind::Placement, _) => told.push(format!("placed on {machine}")),
            (v2::EventKind::State, Some(state)) if state.active == "active" => {
                told.push(format!("active on {machine}, generation {}", state.generation));
                break;
            }
            // Too much was missed to be told: what is now is seen below.
            (v2::EventKind::Reset, _) => break,
            _ => (),
        }
    }

    let why = client.explain(NAME).await?;
    told.push(why.summary);
    let counts = client.counts().await?;
    told.push(format!("{} of {} machines are there", counts.machines.present, counts.machines.total));

    // Only if nobody has changed it since.
    let gone = client.delete_unit(NAME, &Terms::only_at(created.result.generation)).await?;
    told.push(format!("{:?}", gone.result.outcome));
    Ok(told)
}
