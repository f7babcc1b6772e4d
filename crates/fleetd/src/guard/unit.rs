//! The file of `fleet-guard.service`.

/// The text of the guard's unit file.
///
/// `program`: where this very program is. `folder`: the guard's folder, written as [`argument`] writes it or with systemd's
/// specifiers.
pub fn text(program: &str, folder: &str) -> String {
    let program = quoted(program, &['%']);
    format!(
        "\
# fleet wrote this; changes here are lost.
[Unit]
Description=fleet: this machine has its lease
# The lease may come and go; whether the guard may stand is its own decision.
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
ExecStart={program} guard {folder}
# It tells systemd until when it stands. Frozen, it is ended then, at once and without being asked.
WatchdogSec=10s
WatchdogSignal=SIGKILL
TimeoutStartSec=10s
TimeoutStopSec=1s
Restart=no
# Its end ends units.
OOMScoreAdjust=-900
"
    )
}

/// An argument of a command line in a unit file, in which systemd replaces nothing.
pub fn argument(text: &str) -> String {
    quoted(text, &['%', '$'])
}

/// Variables are not replaced in a program's name, so there a `$` is not written twice.
fn quoted(text: &str, twice: &[char]) -> String {
    let mut word = String::from("\"");
    for ch in text.chars() {
        match ch {
            '"' | '\\' => word.extend(['\\', ch]),
            ch if twice.contains(&ch) => word.extend([ch, ch]),
            ch => word.push(ch),
        }
    }
    word.push('"');
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stay_words() {
        assert_eq!(argument("/run/fleet/units"), "\"/run/fleet/units\"");
        assert_eq!(argument("/a b/%i/$HOME/\"\\"), "\"/a b/%%i/$$HOME/\\\"\\\\\"");
        let text = text("/opt/100%$/fleetd", "%t/systemd/user/.guard");
        assert!(text.contains("\nExecStart=\"/opt/100%%$/fleetd\" guard %t/systemd/user/.guard\n"), "{text}");
    }
}
