//! Commands about machines, and about `fleetctl` itself.

use expect_test::expect;

use super::{WORLD, check};
use crate::desk::Desk;

#[test]
fn machines() {
    let desk = WORLD.desk();
    check(
        &desk,
        &[
            "fleetctl list-machines",
            "fleetctl list-machines -l --fields=metadata,machine --no-legend",
            "fleetctl machine set-metadata ffff rack=7",
            "fleetctl machine set-metadata 2c829abe rack",
        ],
        expect![[r#"
            $ fleetctl list-machines
            exit 0
            --- stdout
            MACHINE	IP	METADATA	STATE
            <m1>...	<m1-ip>	disk=ssd	present
            <m2>...	<m2-ip>	disk=hdd	present
            <m3>...	<m3-ip>	-	present
            $ fleetctl list-machines -l --fields=metadata,machine --no-legend
            exit 0
            --- stdout
            disk=ssd	<m1-id>
            disk=hdd	<m2-id>
            -	<m3-id>
            $ fleetctl machine set-metadata ffff rack=7
            exit 1
            --- stderr
            error: no machine `ffff`
            hint: these are there: <m1>, <m2>, <m3>
            $ fleetctl machine set-metadata <m3> rack
            exit 2
            --- stderr
            error: `rack` is no metadata: write KEY=VALUE
        "#]],
    );
}

#[test]
fn metadata_comes_and_goes() {
    let world = crate::world::World::new(1);
    check(
        &world.desk(),
        &[
            "fleetctl machine set-metadata 06c45d18 rack=7 disk=ssd",
            "fleetctl list-machines --no-legend",
            "fleetctl machine remove-metadata 06c45d18 rack disk",
            "fleetctl list-machines --no-legend",
        ],
        expect![[r#"
            $ fleetctl machine set-metadata <m1> rack=7 disk=ssd
            exit 0
            --- stderr
            metadata of <m1>...: disk=ssd,rack=7
            $ fleetctl list-machines --no-legend
            exit 0
            --- stdout
            <m1>...	<m1-ip>	disk=ssd,rack=7	present
            $ fleetctl machine remove-metadata <m1> rack disk
            exit 0
            --- stderr
            metadata of <m1>...: none
            $ fleetctl list-machines --no-legend
            exit 0
            --- stdout
            <m1>...	<m1-ip>	-	present
        "#]],
    );
}

#[test]
fn nobody_answers() {
    let desk = Desk::new("unix:///does/not/exist", Vec::new());
    check(
        &desk,
        &[
            // The hint names the clusters of people who share this box with the test.
            "set -o pipefail; fleetctl list-units 2>&1 | grep -v ^hint:",
            "fleetctl --endpoint nonsense list-units",
            "FLEETCTL_REQUEST_TIMEOUT=x fleetctl list-units",
            "fleetctl version && fleetctl --version && fleetctl -v",
        ],
        expect![[r#"
            $ set -o pipefail; fleetctl list-units 2>&1 | grep -v ^hint:
            exit 1
            --- stdout
            error: cannot list the units
              cause: no answer from fleetd at unix://<cluster>
              cause: No such file or directory (os error 2)
            $ fleetctl --endpoint nonsense list-units
            exit 2
            --- stderr
            error: cannot use `nonsense` as the endpoint
              cause: endpoint `nonsense` has no scheme: write `unix:///path`, `http://host:port` or `https://host:port`
            $ FLEETCTL_REQUEST_TIMEOUT=x fleetctl list-units
            exit 2
            --- stderr
            error: environment variable `FLEETCTL_REQUEST_TIMEOUT` has the value `x`: it is no number of seconds greater than 0 and at most 100000000
            hint: correct the variable, or remove it: `unset FLEETCTL_REQUEST_TIMEOUT`
            $ fleetctl version && fleetctl --version && fleetctl -v
            exit 0
            --- stdout
            fleetctl version 0.1.0
            fleetctl version 0.1.0
            fleetctl version 0.1.0
        "#]],
    );
}
