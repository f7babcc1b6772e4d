//! `cargo xtask man`: the manual pages. Each program writes its own from the declaration of its command line.

use std::fs;
use std::path::Path;

use crate::run::{ChoreError, cargo, print};

/// Writes the pages into `folder` and lists them.
pub fn run(folder: &Path) -> Result<(), ChoreError> {
    let failed = |err: std::io::Error| ChoreError::Other(format!("cannot write to `{}`: {err}", folder.display()));
    fs::create_dir_all(folder).map_err(failed)?;
    // cargo runs in the workspace's folder, not in this one.
    let folder = folder.canonicalize().map_err(failed)?;
    for package in ["fleetctl", "fleetd"] {
        let args = ["run", "--quiet", "--package", package, "--bin", package, "--", "__man"];
        crate::run::check(cargo(&args).arg(&folder))?;
    }
    let mut pages = Vec::new();
    for page in fs::read_dir(&folder).map_err(failed)? {
        pages.push(page.map_err(failed)?.path().display().to_string());
    }
    pages.sort();
    pages.iter().for_each(|page| print(page));
    Ok(())
}
