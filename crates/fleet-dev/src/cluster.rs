//! Several machines and the one `fleetd` that serves them.
