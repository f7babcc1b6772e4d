//! `machine drain`: asks for it and follows how the machine is emptied.

use std::future;
use std::time::Duration;

use fleet_api::{WatchStream, v2};
use futures_util::{FutureExt as _, StreamExt as _};
use indicatif::ProgressStyle;

use crate::cli::DrainArgs;
use crate::commands::create::rehearse;
use crate::commands::machine::find;
use crate::commands::session::Session;
use crate::commands::waiting::{RECONNECT_PAUSE, RECONNECTS_MAX, Signals};
use crate::commands::watching;
use crate::error::{CommandError, Interruption};
use crate::exit::Exit;
use crate::render::drain::{Emptying, Standing};
use crate::wait::short_id;

/// How often it is looked without news: not every change of a drain is one of a unit (an uncordon, the brake).
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Carries it out. The exit code is 0 if all went that may move.
pub async fn run(session: &Session<'_>, args: &DrainArgs) -> Result<Exit, CommandError> {
    let id = find(session, &args.machine).await?;
    let short = short_id(&id);
    if args.dry_run {
        return rehearse(session, v2::PlanRequest { drain: vec![id], ..v2::PlanRequest::default() }).await;
    }
    let doing = format!("drain {short}");
    let before = session.call(&doing, session.client.drain_progress(&id)).await?;
    let request = v2::DrainRequest { max_at_once: Some(args.max) };
    let changed = session.call(&doing, session.client.drain(&id, request)).await?;
    let mut emptying = Emptying::new(&short, &before);
    if args.no_block {
        session.console.talk(&format!("{short} is drained: {} to move", emptying.to_move()));
        return Ok(Exit::Ok);
    }
    let mut signals = Signals::new()?;
    let limit = args.timeout.map(Duration::from_secs_f64);
    let result = tokio::select! {
        result = follow(session, &id, changed.revision, &mut emptying) => result,
        () = out_of_time(limit) => {
            Err(CommandError::DrainTimedOut { machine: short.clone(), left: emptying.sentence() })
        }
        how = signals.next() => Err(interrupted(&short, how)),
    };
    session.console.hide_bar();
    let standing = result?;
    session.console.line(&emptying.summary())?;
    for line in emptying.left() {
        session.console.talk(&line);
    }
    Ok(if standing == Standing::Emptied { Exit::Ok } else { Exit::Failed })
}

async fn out_of_time(limit: Option<Duration>) {
    match limit {
        Some(limit) => tokio::time::sleep(limit).await,
        None => future::pending().await,
    }
}

fn interrupted(machine: &str, how: Interruption) -> CommandError {
    CommandError::DrainInterrupted { machine: machine.to_owned(), how }
}

/// Looks at each change of any unit, and now and then without one, until nothing moves any more.
async fn follow(
    session: &Session<'_>,
    id: &str,
    revision: u64,
    emptying: &mut Emptying,
) -> Result<Standing, CommandError> {
    let mut stream = open(session, revision).await?;
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut has_news = false;
    let mut n_reconnects = 0;
    loop {
        tokio::select! {
            // In this order: one look for all the changes that came together.
            biased;
            event = stream.next() => match event {
                Some(Ok(_)) => {
                    (has_news, n_reconnects) = (true, 0);
                    continue;
                }
                lost => {
                    n_reconnects += 1;
                    if RECONNECTS_MAX < n_reconnects {
                        return Err(CommandError::WatchLost { err: lost.and_then(Result::err) });
                    }
                    if n_reconnects == 1 {
                        session.console.talk("lost fleetd; trying to reach it again, the units are not touched by that");
                    }
                    tokio::time::sleep(RECONNECT_PAUSE).await;
                    stream = open(session, revision).await.unwrap_or_else(|_| futures_util::stream::empty().boxed());
                    continue;
                }
            },
            () = future::ready(()).fuse(), if has_news => (),
            _ = look.tick() => (),
        }
        has_news = false;
        let progress = match session.client.drain_progress(id).await {
            Ok(progress) => progress,
            // It is being replaced by a newer one, perhaps: the stream will tell.
            Err(fleet_api::ClientError::Unreachable { .. }) => continue,
            Err(err) => return Err(session.api_error("see how far the drain is", err)),
        };
        let standing = emptying.take_in(&progress);
        if standing != Standing::UnderWay {
            return Ok(standing);
        }
        speak(session, emptying);
    }
}

async fn open(session: &Session<'_>, revision: u64) -> Result<WatchStream, CommandError> {
    let request = v2::WatchRequest { units: Vec::new(), revision };
    watching::open(session, &request).await
}

fn speak(session: &Session<'_>, emptying: &mut Emptying) {
    if session.console.is_watched() {
        let bar = session.console.bar();
        bar.set_style(ProgressStyle::with_template("{spinner} {wide_msg}").expect("the template is well formed"));
        bar.set_message(emptying.sentence());
        session.console.show_bar();
    } else if let Some(news) = emptying.news() {
        session.console.talk(&news);
    }
}
