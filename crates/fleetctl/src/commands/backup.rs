//! `backup` and `restore`: the store's own keys in a file.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use fleet_api::backup::{BackupError, LINE_MAX, Reader, RestoreAction, RestoreQuery, Restored, Trailer};
use futures_util::StreamExt as _;

use crate::cli::Format;
use crate::commands::list;
use crate::commands::session::Session;
use crate::error::CommandError;
use crate::exit::Exit;
use crate::render::layout::Table;

/// `backup`.
#[derive(Debug, Args)]
#[command(after_help = BACKUP_HELP)]
pub struct BackupArgs {
    /// Where to; a file that is there is replaced once the new one is whole
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

const BACKUP_HELP: &str = "\
In it are all units with their files, desired states and placements, and what operators said of machines: metadata, cordon, drain, given up, \
and the brake. Not in it is what machines say of themselves and of their units, and no journal. All of it is as it was at one revision of \
the store, whatever changes meanwhile. The file is text with a checksum, and only its owner may read it: unit files may hold secrets.";

/// `restore`.
#[derive(Debug, Args)]
#[command(after_help = RESTORE_HELP)]
pub struct RestoreArgs {
    /// Only say what would be done
    #[arg(long)]
    pub dry_run: bool,
    /// Restore although the cluster is not empty: what the backup does not have is destroyed
    #[arg(long)]
    pub replace: bool,
    /// How to print
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t = Format::Text)]
    pub output: Format,
    /// The backup
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

const RESTORE_HELP: &str = "\
The whole backup is checked before anything is changed. A unit that is the same in cluster and backup is left alone and runs on. Where \
nothing is placed yet, units are placed where they were.

After the store was lost: machines that see an empty store stop what they run. So restore before their fleetd is started; docs/fleetd.md \
says how.";

/// Bytes of a file that are copied at once.
const COPY_BYTES: usize = 64 << 10;

/// Writes a backup.
pub async fn backup(session: &Session<'_>, args: &BackupArgs) -> Result<Exit, CommandError> {
    let path = &args.file;
    let failed = |err| CommandError::Write { path: path.clone(), err };
    let doing = "read the store";
    let mut pieces = session.open_stream(doing, session.client.backup()).await?;
    let name = path.file_name().ok_or_else(|| failed(io::Error::from(io::ErrorKind::IsADirectory)))?;
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(".tmp");
    let beside = path.with_file_name(hidden);
    // One that was left behind may have another mode.
    match fs::remove_file(&beside) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(failed(err)),
        Ok(()) | Err(_) => (),
    }
    let written = async {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside).map_err(failed)?;
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|err| session.api_error(doing, err))?;
            file.write_all(&piece).map_err(failed)?;
        }
        file.sync_all().map_err(failed)?;
        // What is on the disk, not what was sent.
        let checked = check(&beside)?;
        fs::rename(&beside, path).map_err(failed)?;
        Ok(checked)
    };
    let checked: Result<(u64, Trailer), CommandError> = written.await;
    if checked.is_err() {
        // The error that counts is the one before.
        let _ = fs::remove_file(&beside);
    }
    let (revision, trailer) = checked?;
    for key in &trailer.left_out {
        session.console.talk(&format!("WARNING: `{key}` is not in the backup: fleetd cannot read its value"));
    }
    let said = format!("{} keys at revision {revision} are in {}", trailer.entries, path.display());
    session.console.talk(&said);
    Ok(if trailer.left_out.is_empty() { Exit::Ok } else { Exit::Failed })
}

/// Restores one.
pub async fn restore(session: &Session<'_>, args: &RestoreArgs) -> Result<Exit, CommandError> {
    let path = &args.file;
    check(path)?;
    let text = fs::read(path).map_err(|err| CommandError::Read { path: path.clone(), err })?;
    let query = RestoreQuery { replace: args.replace, dry_run: true };
    let doing = format!("restore {}", path.display());
    let plan = session.call(&doing, session.client.restore(text.clone(), query)).await?;
    if matches!(args.output, Format::Text | Format::Wide) {
        show(session, &plan)?;
    }
    let done = match args.dry_run {
        true => plan,
        false => session.call(&doing, session.client.restore(text, RestoreQuery { dry_run: false, ..query })).await?,
    };
    for note in &done.notes {
        session.console.talk(&format!("WARNING: {note}"));
    }
    let names = done.units.iter().map(|unit| unit.name.as_str());
    list::structured(session, args.output, &done, names)?;
    session.console.talk(&summary(&done, args.dry_run));
    Ok(Exit::Ok)
}

/// Reads the backup through and checks it; gives its revision and its last line.
fn check(path: &Path) -> Result<(u64, Trailer), CommandError> {
    let cannot_read = |err| CommandError::Read { path: path.to_owned(), err };
    let broken = |err: BackupError| CommandError::BadBackup { path: path.to_owned(), err };
    let mut lines = BufReader::with_capacity(COPY_BYTES, File::open(path).map_err(cannot_read)?);
    let mut reader = Reader::default();
    let mut line = Vec::new();
    loop {
        line.clear();
        let limit = u64::try_from(LINE_MAX).unwrap_or(u64::MAX);
        if lines.by_ref().take(limit).read_until(b'\n', &mut line).map_err(cannot_read)? == 0 {
            break;
        }
        reader.line(&line).map_err(broken)?;
    }
    let (header, trailer) = reader.end().map_err(broken)?;
    Ok((header.revision, trailer))
}

/// What is changed: units by name, then other keys.
fn show(session: &Session<'_>, plan: &Restored) -> Result<(), CommandError> {
    let units = plan.units.iter().filter(|unit| unit.action != RestoreAction::Keep);
    let mut rows: Vec<Vec<String>> = units.map(|unit| vec![unit.name.clone(), word(unit.action).to_owned()]).collect();
    rows.extend(plan.keys.iter().map(|key| {
        let action = if key.removed { "remove" } else { "write" };
        vec![key.key.clone(), action.to_owned()]
    }));
    list::print(session, true, true, &Table { columns: vec!["what", "action"], rows })
}

fn word(action: RestoreAction) -> &'static str {
    match action {
        RestoreAction::Create => "create",
        RestoreAction::Change => "change",
        RestoreAction::Keep => "keep",
        RestoreAction::Destroy => "destroy",
    }
}

fn summary(done: &Restored, dry_run: bool) -> String {
    let n = |action| done.units.iter().filter(|unit| unit.action == action).count();
    let verb = if dry_run { "would be" } else { "were" };
    let mut parts = Vec::new();
    for (n, what) in [
        (n(RestoreAction::Create), "created"),
        (n(RestoreAction::Change), "changed"),
        (n(RestoreAction::Destroy), "destroyed"),
    ] {
        if 0 < n {
            parts.push(format!("{n} units {verb} {what}"));
        }
    }
    parts.push(format!("{} are the same", n(RestoreAction::Keep)));
    format!(
        "backup of revision {}: {}, {} other keys {verb} set",
        done.backup.revision,
        parts.join(", "),
        done.keys.len()
    )
}
