//! Backups: what `GET /backup` answers, `fleetctl backup` keeps and `POST /restore` takes.
//!
//! A backup is text, one JSON object a line: a [`Header`], an [`Entry`] for each key by key, and a [`Trailer`] with a checksum of all
//! lines before it, so that a file that was cut off or changed is noticed. The values are what the store holds, each a JSON object
//! with a version of its own.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha1::{Digest as _, Sha1};
use utoipa::ToSchema;

/// The form that is written, and the newest that is read.
pub const FORMAT: u32 = 1;

/// Longest line that is read, in bytes: several times what the largest value can be.
pub const LINE_MAX: usize = 16 << 20;

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Header {
    /// [`FORMAT`].
    pub fleet_backup: u32,
    /// The store's revision that all of it shows.
    pub revision: u64,
    /// The version of the fleetd that wrote it.
    pub version: String,
    /// When, in milliseconds since the Unix epoch.
    pub taken_ms: u64,
}

/// One key of the store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The key, without the store's prefix.
    pub key: String,
    /// Of a unit: its generation, which is not part of the value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// The value.
    pub value: Value,
}

/// The last line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trailer {
    /// How many entries there are.
    pub entries: u64,
    /// The SHA-1 of all lines before this one, in 40 hex digits. It finds accidents; it is no signature.
    pub sha1: String,
    /// Keys that are not in the backup because the fleetd that wrote it could not read them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
}

/// Writes a backup, line by line.
#[derive(Debug, Default)]
pub struct Writer {
    digest: Sha1,
    entries: u64,
}

impl Writer {
    /// The first line.
    pub fn header(&mut self, header: &Header) -> String {
        self.line(header)
    }

    /// The line of one key.
    pub fn entry(&mut self, entry: &Entry) -> String {
        self.entries += 1;
        self.line(entry)
    }

    /// The last line.
    pub fn trailer(self, left_out: Vec<String>) -> String {
        let sha1 = hex(&self.digest.finalize());
        to_line(&Trailer { entries: self.entries, sha1, left_out })
    }

    fn line(&mut self, value: &impl Serialize) -> String {
        let line = to_line(value);
        self.digest.update(line.as_bytes());
        line
    }
}

fn to_line(value: &impl Serialize) -> String {
    let mut line = serde_json::to_string(value).expect("wire types have text keys and no fallible parts");
    line.push('\n');
    line
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Why a text is no backup, or not a whole one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BackupError {
    /// The first line is no header.
    #[error("it does not begin as a backup of fleet does: {reason}")]
    Header {
        /// What is wrong with it.
        reason: String,
    },
    /// A newer fleet wrote it.
    #[error("it has format {found}, and this fleet reads {FORMAT}: upgrade fleet here")]
    Format {
        /// Its format.
        found: u32,
    },
    /// A line cannot be read.
    #[error("line {line}: {reason}")]
    Line {
        /// Counted from 1.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no last line.
    #[error("it ends after line {lines} and has no last line with a checksum: it is cut off")]
    CutOff {
        /// How many lines there are.
        lines: u64,
    },
    /// There is more behind the last line.
    #[error("there is more behind its last line, which is line {line}")]
    Longer {
        /// Counted from 1.
        line: u64,
    },
    /// It was changed.
    #[error("its checksum is wrong: it was changed after it was written")]
    Checksum,
}

/// Reads a backup, line by line, and checks it.
#[derive(Debug, Default)]
pub struct Reader {
    digest: Sha1,
    lines: u64,
    header: Option<Header>,
    entries: u64,
    trailer: Option<Trailer>,
}

impl Reader {
    /// Takes the next line, with its newline if it has one; gives the entry that is on it, if one is.
    ///
    /// # Errors
    /// [`BackupError`]; nothing more can be read then.
    pub fn line(&mut self, line: &[u8]) -> Result<Option<Entry>, BackupError> {
        if self.trailer.is_some() {
            return Err(BackupError::Longer { line: self.lines });
        }
        self.lines += 1;
        if self.header.is_none() {
            let refused = |err: serde_json::Error| BackupError::Header { reason: err.to_string() };
            let header: Value = serde_json::from_slice(line).map_err(refused)?;
            // What a newer format's header looks like is not known, but for this.
            match header["fleet_backup"].as_u64() {
                Some(found) if found != u64::from(FORMAT) => {
                    return Err(BackupError::Format { found: u32::try_from(found).unwrap_or(u32::MAX) });
                }
                Some(_) | None => self.header = Some(serde_json::from_value(header).map_err(refused)?),
            }
            self.digest.update(line);
            return Ok(None);
        }
        let refused = |reason: String| BackupError::Line { line: self.lines, reason };
        let value: Value = serde_json::from_slice(line).map_err(|err| refused(err.to_string()))?;
        if value.get("key").is_some() {
            let entry = serde_json::from_value(value).map_err(|err| refused(err.to_string()))?;
            self.digest.update(line);
            self.entries += 1;
            return Ok(Some(entry));
        }
        let trailer: Trailer = serde_json::from_value(value).map_err(|err| refused(err.to_string()))?;
        if trailer.sha1 != hex(&self.digest.clone().finalize()) || trailer.entries != self.entries {
            return Err(BackupError::Checksum);
        }
        self.trailer = Some(trailer);
        Ok(None)
    }

    /// What stands around the entries, once all lines have been read.
    ///
    /// # Errors
    /// [`BackupError::CutOff`].
    pub fn end(self) -> Result<(Header, Trailer), BackupError> {
        self.header.zip(self.trailer).ok_or(BackupError::CutOff { lines: self.lines })
    }
}

/// `POST /restore`: the backup is the body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RestoreQuery {
    /// Restore although the cluster is not empty: what the backup does not have is destroyed.
    #[serde(default)]
    pub replace: bool,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// What a restore did, or would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Restored {
    /// The store's revision afterwards; reads from the same daemon show at least this.
    pub revision: u64,
    /// The backup's first line.
    pub backup: Header,
    /// The units of the backup and of the cluster, by name.
    pub units: Vec<RestoredUnit>,
    /// All other keys that are written or removed.
    pub keys: Vec<RestoredKey>,
    /// What of the backup is not restored, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// One unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RestoredUnit {
    /// Its name.
    pub name: String,
    /// What happens to it.
    pub action: RestoreAction,
}

/// What happens to a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RestoreAction {
    /// The cluster does not have it.
    Create,
    /// The cluster has it with another file or desired state.
    Change,
    /// It is the same; whatever runs of it runs on.
    Keep,
    /// The backup does not have it.
    Destroy,
}

/// A key that is no unit's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RestoredKey {
    /// The key.
    pub key: String,
    /// Whether it is removed; else it is written.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub removed: bool,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn written() -> String {
        let mut writer = Writer::default();
        let header = Header { fleet_backup: FORMAT, revision: 7, version: "0.1.0".to_owned(), taken_ms: 1 };
        let mut text = writer.header(&header);
        let unit = Entry { key: "units/a.service".to_owned(), generation: Some(5), value: json!({"v": 1}) };
        text += &writer.entry(&unit);
        text += &writer.entry(&Entry { key: "cordon/m".to_owned(), generation: None, value: json!({"v": 1}) });
        text + &writer.trailer(vec!["odd".to_owned()])
    }

    fn read(text: &str) -> Result<(Vec<String>, Header, Trailer), BackupError> {
        let mut reader = Reader::default();
        let mut keys = Vec::new();
        for line in text.split_inclusive('\n') {
            keys.extend(reader.line(line.as_bytes())?.map(|entry| entry.key));
        }
        let (header, trailer) = reader.end()?;
        Ok((keys, header, trailer))
    }

    #[test]
    fn form() {
        let text = written();
        expect_test::expect![[r#"
            {"fleet_backup":1,"revision":7,"version":"0.1.0","taken_ms":1}
            {"key":"units/a.service","generation":5,"value":{"v":1}}
            {"key":"cordon/m","value":{"v":1}}
            {"entries":2,"sha1":"77c6b8ae6b32f624f998e492f59b0cd66ce701a5","left_out":["odd"]}
        "#]]
        .assert_eq(&text);
        let (keys, header, trailer) = read(&text).expect("a backup");
        assert_eq!((keys.len(), header.revision, trailer.entries), (2, 7, 2));
    }

    #[test]
    fn what_is_none() {
        let text = written();
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        assert_eq!(read(&lines[..3].concat()), Err(BackupError::CutOff { lines: 3 }));
        assert_eq!(read(""), Err(BackupError::CutOff { lines: 0 }));
        assert_eq!(read(&[lines[0], lines[1], lines[3]].concat()), Err(BackupError::Checksum));
        assert_eq!(read(&text.replace("\"revision\":7", "\"revision\":8")), Err(BackupError::Checksum));
        assert_eq!(read(&format!("{text}{{}}")), Err(BackupError::Longer { line: 4 }));
        assert_eq!(read("{\"fleet_backup\":2}"), Err(BackupError::Format { found: 2 }));
        assert!(matches!(read("[Unit]"), Err(BackupError::Header { .. })));
        assert!(matches!(read("{}"), Err(BackupError::Header { .. })));
        assert!(matches!(read(&(lines[0].to_owned() + "{}\n")), Err(BackupError::Line { line: 2, .. })));
        // Without its last newline it is whole all the same.
        for len in 1..text.len() - 1 {
            assert!(read(&text[..len]).is_err(), "cut off after {len} bytes");
        }
    }
}
