//! What people see: stdout, stderr and exit code of the main commands, in success and in failure, as transcripts.
//!
//! `UPDATE_EXPECT=1 cargo test -p acceptance` rewrites these texts; read the difference before you keep it. What changes from
//! run to run goes through one filter ([`Desk::filter`]). Lines that say what a command waits for are left out: they depend on
//! how busy the box is, and have tests of their own.

mod life;
mod lists;
mod machines;
mod trouble;

use std::sync::LazyLock;

use expect_test::Expect;

use crate::desk::Desk;
use crate::world::World;

static WORLD: LazyLock<World> = LazyLock::new(|| World::with_metadata(&["disk=ssd", "disk=hdd", ""]));

const SLEEPS: &str = "[Service]\nExecStart=/bin/sleep infinity\n";
/// On one machine, so that the texts are the same each time.
const ON_M1: &str = "[X-Fleet]\nMachineMetadata=disk=ssd\n";

/// Types each of `lines`, one after the other, and compares all that is seen.
#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "reads better in fifteen tests")]
fn check(desk: &Desk, lines: &[&str], expected: Expect) {
    let seen: String = lines.iter().map(|line| desk.golden(line)).collect();
    expected.assert_eq(&seen);
}
