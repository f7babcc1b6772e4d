//! Many machines.

use crate::field::{FieldSpec, SLEEPER};

#[test]
fn a_global_unit_runs_on_30_machines_after_one_command() {
    const MACHINES: u8 = 30;
    let field = FieldSpec::new(MACHINES).start();
    field.write("m1", "everywhere.service", &format!("{SLEEPER}\n[X-Fleet]\nGlobal=true\n"));
    field.ok("m1", "fleetctl start everywhere.service");
    let running = field.running("everywhere.service");
    assert_eq!(running.len(), usize::from(MACHINES), "{:?}", running.keys());
}
