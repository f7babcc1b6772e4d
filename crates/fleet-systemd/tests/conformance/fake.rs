//! The model of a systemd, on tokio's paused clock: what takes seconds takes none.

use async_trait::async_trait;
use fleet_core::unit::UnitName;
use fleet_systemd::UnitManager;
use fleet_systemd::fake::FakeMachine;

use crate::world::World;

#[async_trait]
impl World for FakeMachine {
    async fn manager(&self) -> Box<dyn UnitManager> {
        Box::new(FakeMachine::manager(self))
    }

    async fn command_line(&self, name: &UnitName) -> Option<String> {
        FakeMachine::command_line(self, name)
    }

    async fn kill_main(&self, name: &UnitName) {
        FakeMachine::kill_main(self, name);
    }

    async fn reload(&self) {
        FakeMachine::reload(self);
    }

    async fn reload_stamp(&self) -> u64 {
        self.n_reloads()
    }

    async fn reexec(&self) {
        self.disconnect("systemd executes itself anew");
        self.reconnect();
    }

    async fn reboot(&self) {
        FakeMachine::reboot(self);
    }
}
