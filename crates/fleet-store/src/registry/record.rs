//! What the values hold, and their form in the store.
//!
//! Records are what code works with; the `...Wire` types are the promise to the store, and each has a golden test.

use std::collections::{BTreeMap, BTreeSet};

use fleet_core::model::{Brake, Drain, Generation, Placement, Revision, TargetState, Timestamp, UnitState};
use fleet_core::unit::{UnitFile, UnitHash, UnitName, WhenIsolated};
use serde::{Deserialize, Serialize};

use super::value::{VALUE_VERSION, Value, ValueError, field, from_json, to_json};

/// Fields that a newer fleet wrote and this one does not know; written back as they were.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rest(BTreeMap<String, serde_json::Value>);

/// `units/NAME`: a [`fleet_core::model::Unit`] without what its file says.
#[derive(Clone, Debug, PartialEq)]
pub struct UnitRecord {
    /// Its file, by content.
    pub hash: UnitHash,
    /// How far it is to be taken.
    pub target: TargetState,
    /// One more for each change since the unit was created, as [`fleet_core::model::Unit::generation`] counts them. The
    /// generation itself is this and the revision at which the store says that the unit was created.
    pub changes: u64,
    /// One more for each restart asked for.
    pub restarts: u64,
    /// When this was last changed.
    pub changed: Timestamp,
    /// The template it was made from, if it was.
    pub template: Option<TemplateRef>,
    /// What a newer fleet wrote.
    pub rest: Rest,
}

/// Which template a unit was made from, and how that looked then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateRef {
    /// The template's name.
    pub name: UnitName,
    /// The template's file at that time.
    pub hash: UnitHash,
}

/// `files/HASH`: one unit file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRecord {
    /// As the user wrote it, comments and all.
    pub original: String,
    /// The form that is hashed and given to systemd.
    ///
    /// Kept although it follows from the original, so that a change of the parser never changes what runs.
    pub canonical: String,
}

/// `machines/ID`: what a machine says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MachineRecord {
    /// Where it can be reached; empty if it does not say.
    pub public_ip: String,
    /// Its static metadata.
    pub metadata: BTreeMap<String, String>,
    /// The version of its `fleetd`.
    pub version: String,
    /// A name for people, such as its host name.
    pub name: Option<String>,
    /// The kernel's ID of its present boot: tells a machine that came back from another one with the same machine ID.
    /// Empty where it is not known; then nobody is taken for the same machine.
    pub boot_id: String,
    /// Where others reach its `fleetd`'s API, such as `http://10.0.0.1:49153`; empty if nowhere.
    pub api: String,
    /// It is about to leave the cluster: what may run elsewhere moves away.
    pub leaving: bool,
    /// What its `fleetd` can do besides running units, in words: `engine` (it may lead).
    pub capabilities: BTreeSet<String>,
}

/// `metadata/ID/KEY`: one piece of dynamic metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetadataRecord {
    /// It has this value, whatever the machine says.
    Set(String),
    /// It has none, whatever the machine says.
    Removed,
}

/// `cordon/ID`: nothing new is placed on the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CordonRecord {
    /// Since when.
    pub since: Timestamp,
}

/// `drain/ID`: nothing new is placed on the machine, and what is there moves away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainRecord {
    /// Since when.
    pub since: Timestamp,
    /// See [`Drain::max_at_once`]; at least 1.
    pub max_at_once: u32,
}

/// `given-up/ID`: an operator says that the machine is off and does not come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GivenUpRecord {
    /// Since when.
    pub since: Timestamp,
}

/// `operators/ID`: operators have said something of the machine; which revision it has is what counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OperatorsRecord {
    /// When they last did.
    pub changed: Timestamp,
}

/// `requests/ID/N`: a piece of what came of a request that may be sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestRecord {
    /// What was asked, as a hash: the same word for another request is a mistake of the client's.
    pub asked: String,
    /// What came of it, in the form of the API that was asked.
    pub answer: String,
}

/// `leader`: the engine that leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderRecord {
    /// Who: the machine (or another name) of the process it runs in.
    pub id: String,
    /// The version of its `fleetd`.
    pub version: String,
    /// Since when, by its own clock.
    pub since: Timestamp,
}

impl FileRecord {
    /// The record of a file as it was given.
    #[must_use]
    pub fn of(original: &str, file: &UnitFile) -> FileRecord {
        FileRecord { original: original.to_owned(), canonical: file.canonical() }
    }

    /// The hash that this file is stored under.
    #[must_use]
    pub fn hash(&self) -> UnitHash {
        UnitHash::of_canonical(&self.canonical)
    }
}

#[derive(Serialize, Deserialize)]
struct UnitWire {
    v: u32,
    hash: String,
    target: String,
    generation: u64,
    restarts: u64,
    changed_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    template: Option<TemplateWire>,
    #[serde(flatten)]
    rest: BTreeMap<String, serde_json::Value>,
}

#[derive(Serialize, Deserialize)]
struct TemplateWire {
    name: String,
    hash: String,
}

impl Value for UnitRecord {
    fn encode(&self) -> Vec<u8> {
        to_json(&UnitWire {
            v: VALUE_VERSION,
            hash: self.hash.to_string(),
            target: self.target.to_string(),
            generation: self.changes,
            restarts: self.restarts,
            changed_ms: self.changed.0,
            template: self
                .template
                .as_ref()
                .map(|template| TemplateWire { name: template.name.to_string(), hash: template.hash.to_string() }),
            rest: self.rest.0.clone(),
        })
    }

    fn decode(bytes: &[u8]) -> Result<UnitRecord, ValueError> {
        let wire: UnitWire = from_json(bytes)?;
        let template = |template: TemplateWire| {
            Ok(TemplateRef {
                name: field("template.name", &template.name)?,
                hash: field("template.hash", &template.hash)?,
            })
        };
        Ok(UnitRecord {
            hash: field("hash", &wire.hash)?,
            target: field("target", &wire.target)?,
            changes: wire.generation,
            restarts: wire.restarts,
            changed: Timestamp(wire.changed_ms),
            template: wire.template.map(template).transpose()?,
            rest: Rest(wire.rest),
        })
    }
}

#[derive(Serialize, Deserialize)]
struct FileWire {
    v: u32,
    original: String,
    /// Left out if it equals the original: a large file then takes half the room in a transaction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    canonical: Option<String>,
}

impl Value for FileRecord {
    fn encode(&self) -> Vec<u8> {
        to_json(&FileWire {
            v: VALUE_VERSION,
            original: self.original.clone(),
            canonical: (self.canonical != self.original).then(|| self.canonical.clone()),
        })
    }

    fn decode(bytes: &[u8]) -> Result<FileRecord, ValueError> {
        let wire: FileWire = from_json(bytes)?;
        let canonical = wire.canonical.unwrap_or_else(|| wire.original.clone());
        Ok(FileRecord { original: wire.original, canonical })
    }
}

#[derive(Serialize, Deserialize)]
struct MachineWire {
    v: u32,
    public_ip: String,
    metadata: BTreeMap<String, String>,
    version: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    boot_id: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    api: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    leaving: bool,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    capabilities: BTreeSet<String>,
}

impl Value for MachineRecord {
    fn encode(&self) -> Vec<u8> {
        to_json(&MachineWire {
            v: VALUE_VERSION,
            public_ip: self.public_ip.clone(),
            metadata: self.metadata.clone(),
            version: self.version.clone(),
            name: self.name.clone(),
            boot_id: self.boot_id.clone(),
            api: self.api.clone(),
            leaving: self.leaving,
            capabilities: self.capabilities.clone(),
        })
    }

    fn decode(bytes: &[u8]) -> Result<MachineRecord, ValueError> {
        let MachineWire { v: _, public_ip, metadata, version, name, boot_id, api, leaving, capabilities } =
            from_json(bytes)?;
        Ok(MachineRecord { public_ip, metadata, version, name, boot_id, api, leaving, capabilities })
    }
}

/// A value or its absence; a removal is a key of its own and no empty value, which is a value like any other here.
#[derive(Serialize, Deserialize)]
struct MetadataWire {
    v: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    removed: bool,
}

impl Value for MetadataRecord {
    fn encode(&self) -> Vec<u8> {
        to_json(&match self {
            MetadataRecord::Set(value) => MetadataWire { v: VALUE_VERSION, value: Some(value.clone()), removed: false },
            MetadataRecord::Removed => MetadataWire { v: VALUE_VERSION, value: None, removed: true },
        })
    }

    fn decode(bytes: &[u8]) -> Result<MetadataRecord, ValueError> {
        let wire: MetadataWire = from_json(bytes)?;
        match (wire.value, wire.removed) {
            (Some(value), false) => Ok(MetadataRecord::Set(value)),
            (None, true) => Ok(MetadataRecord::Removed),
            (Some(_), true) | (None, false) => Err(ValueError::Field {
                field: "value",
                reason: "either a value or `\"removed\": true` is needed, not both".to_owned(),
            }),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct PlacementWire {
    v: u32,
    hash: String,
    target: String,
    generation: u64,
    restarts: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    leaving: Option<u64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    stop_when_isolated: bool,
}

impl Value for Placement {
    fn encode(&self) -> Vec<u8> {
        to_json(&PlacementWire {
            v: VALUE_VERSION,
            hash: self.hash.to_string(),
            target: self.target.to_string(),
            generation: self.generation.0,
            restarts: self.restarts,
            leaving: self.leaving.map(|revision| revision.0),
            stop_when_isolated: self.when_isolated == WhenIsolated::Stop,
        })
    }

    fn decode(bytes: &[u8]) -> Result<Placement, ValueError> {
        let wire: PlacementWire = from_json(bytes)?;
        let target = match field("target", &wire.target)? {
            TargetState::Inactive => {
                return Err(ValueError::Field {
                    field: "target",
                    reason: "a placement cannot be `inactive`: then there is none".to_owned(),
                });
            }
            target @ (TargetState::Loaded | TargetState::Launched) => target,
        };
        Ok(Placement {
            hash: field("hash", &wire.hash)?,
            target,
            generation: Generation(wire.generation),
            restarts: wire.restarts,
            leaving: wire.leaving.map(Revision),
            when_isolated: if wire.stop_when_isolated { WhenIsolated::Stop } else { WhenIsolated::Keep },
        })
    }
}

#[derive(Serialize, Deserialize)]
struct SinceWire {
    v: u32,
    since_ms: u64,
}

impl SinceWire {
    fn encode(since: Timestamp) -> Vec<u8> {
        to_json(&SinceWire { v: VALUE_VERSION, since_ms: since.0 })
    }

    fn decode(bytes: &[u8]) -> Result<Timestamp, ValueError> {
        from_json::<SinceWire>(bytes).map(|wire| Timestamp(wire.since_ms))
    }
}

impl Value for CordonRecord {
    fn encode(&self) -> Vec<u8> {
        SinceWire::encode(self.since)
    }

    fn decode(bytes: &[u8]) -> Result<CordonRecord, ValueError> {
        SinceWire::decode(bytes).map(|since| CordonRecord { since })
    }
}

#[derive(Serialize, Deserialize)]
struct DrainWire {
    v: u32,
    since_ms: u64,
    max_at_once: u32,
}

impl Value for DrainRecord {
    fn encode(&self) -> Vec<u8> {
        let DrainRecord { since, max_at_once } = *self;
        to_json(&DrainWire { v: VALUE_VERSION, since_ms: since.0, max_at_once })
    }

    fn decode(bytes: &[u8]) -> Result<DrainRecord, ValueError> {
        let DrainWire { v: _, since_ms, max_at_once } = from_json(bytes)?;
        if max_at_once == 0 {
            let reason = "it is 0, and then nothing would ever move".to_owned();
            return Err(ValueError::Field { field: "max_at_once", reason });
        }
        Ok(DrainRecord { since: Timestamp(since_ms), max_at_once })
    }
}

impl DrainRecord {
    /// What the engine needs to know of it.
    #[must_use]
    pub fn drain(&self) -> Drain {
        Drain { max_at_once: self.max_at_once }
    }
}

#[derive(Serialize, Deserialize)]
struct BrakeWire {
    v: u32,
    since_ms: u64,
    lost: Vec<String>,
}

impl Value for Brake {
    fn encode(&self) -> Vec<u8> {
        let lost = self.lost.iter().map(ToString::to_string).collect();
        to_json(&BrakeWire { v: VALUE_VERSION, since_ms: self.since.0, lost })
    }

    fn decode(bytes: &[u8]) -> Result<Brake, ValueError> {
        let BrakeWire { v: _, since_ms, lost } = from_json(bytes)?;
        let lost = lost.iter().map(|id| field("lost", id)).collect::<Result<_, _>>()?;
        Ok(Brake { since: Timestamp(since_ms), lost })
    }
}

impl Value for GivenUpRecord {
    fn encode(&self) -> Vec<u8> {
        SinceWire::encode(self.since)
    }

    fn decode(bytes: &[u8]) -> Result<GivenUpRecord, ValueError> {
        SinceWire::decode(bytes).map(|since| GivenUpRecord { since })
    }
}

impl Value for OperatorsRecord {
    fn encode(&self) -> Vec<u8> {
        SinceWire::encode(self.changed)
    }

    fn decode(bytes: &[u8]) -> Result<OperatorsRecord, ValueError> {
        SinceWire::decode(bytes).map(|changed| OperatorsRecord { changed })
    }
}

#[derive(Serialize, Deserialize)]
struct RequestWire {
    v: u32,
    asked: String,
    answer: String,
}

impl Value for RequestRecord {
    fn encode(&self) -> Vec<u8> {
        let RequestRecord { asked, answer } = self.clone();
        to_json(&RequestWire { v: VALUE_VERSION, asked, answer })
    }

    fn decode(bytes: &[u8]) -> Result<RequestRecord, ValueError> {
        let RequestWire { v: _, asked, answer } = from_json(bytes)?;
        Ok(RequestRecord { asked, answer })
    }
}

#[derive(Serialize, Deserialize)]
struct StateWire {
    v: u32,
    load: String,
    active: String,
    sub: String,
    result: String,
    hash: String,
    done: u64,
    restarts: u64,
    reached: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    error: String,
    since_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    left: Option<u64>,
}

impl Value for UnitState {
    fn encode(&self) -> Vec<u8> {
        to_json(&StateWire {
            v: VALUE_VERSION,
            load: self.load.clone(),
            active: self.active.clone(),
            sub: self.sub.clone(),
            result: self.result.clone(),
            hash: self.hash.to_string(),
            done: self.done.0,
            restarts: self.restarts,
            reached: self.reached.to_string(),
            error: self.error.clone(),
            since_ms: self.since.0,
            left: self.left.map(|revision| revision.0),
        })
    }

    fn decode(bytes: &[u8]) -> Result<UnitState, ValueError> {
        let wire: StateWire = from_json(bytes)?;
        Ok(UnitState {
            hash: field("hash", &wire.hash)?,
            reached: field("reached", &wire.reached)?,
            load: wire.load,
            active: wire.active,
            sub: wire.sub,
            result: wire.result,
            done: Generation(wire.done),
            restarts: wire.restarts,
            error: wire.error,
            since: Timestamp(wire.since_ms),
            left: wire.left.map(Revision),
        })
    }
}

#[derive(Serialize, Deserialize)]
struct LeaderWire {
    v: u32,
    id: String,
    version: String,
    since_ms: u64,
}

impl Value for LeaderRecord {
    fn encode(&self) -> Vec<u8> {
        to_json(&LeaderWire {
            v: VALUE_VERSION,
            id: self.id.clone(),
            version: self.version.clone(),
            since_ms: self.since.0,
        })
    }

    fn decode(bytes: &[u8]) -> Result<LeaderRecord, ValueError> {
        let LeaderWire { v: _, id, version, since_ms } = from_json(bytes)?;
        Ok(LeaderRecord { id, version, since: Timestamp(since_ms) })
    }
}
