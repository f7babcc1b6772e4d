//! The manual pages: which there are, and that each has what a page must have.

use std::process::Command;

use expect_test::expect;

use crate::run;

#[test]
fn a_page_for_each_command() {
    let folder = tempfile::tempdir().expect("a folder");
    let said = run(folder.path(), "__man .", &[]);
    assert_eq!(said, "exit 0\n--- stdout\n--- stderr\n");
    let mut pages: Vec<String> = std::fs::read_dir(folder.path())
        .expect("the folder")
        .map(|page| page.expect("a page").file_name().into_string().expect("UTF-8"))
        .collect();
    pages.sort();
    expect![[r#"
        fleetctl-backup.1
        fleetctl-cat.1
        fleetctl-completion.1
        fleetctl-destroy.1
        fleetctl-dev.1
        fleetctl-exec.1
        fleetctl-explain.1
        fleetctl-export.1
        fleetctl-fd-forward.1
        fleetctl-import.1
        fleetctl-is-active.1
        fleetctl-is-failed.1
        fleetctl-journal.1
        fleetctl-kill.1
        fleetctl-list-machines.1
        fleetctl-list-unit-files.1
        fleetctl-list-units.1
        fleetctl-load.1
        fleetctl-machine-cordon.1
        fleetctl-machine-drain.1
        fleetctl-machine-give-up.1
        fleetctl-machine-remove-metadata.1
        fleetctl-machine-set-metadata.1
        fleetctl-machine-uncordon.1
        fleetctl-machine.1
        fleetctl-reload.1
        fleetctl-reset-failed.1
        fleetctl-restart.1
        fleetctl-restore.1
        fleetctl-show.1
        fleetctl-ssh.1
        fleetctl-start.1
        fleetctl-status.1
        fleetctl-stop.1
        fleetctl-submit.1
        fleetctl-unload.1
        fleetctl-version.1
        fleetctl.1
    "#]]
    .assert_eq(&(pages.join("\n") + "\n"));
    for page in &pages {
        let text = std::fs::read_to_string(folder.path().join(page)).expect("a page");
        for part in [".TH ", ".SH NAME", ".SH SYNOPSIS", ".SH DESCRIPTION"] {
            assert!(text.contains(part), "{page} has no {part}");
        }
        assert!(!text.contains("__"), "{page} tells of a hidden command");
    }
}

#[test]
fn a_folder_that_is_not_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let said = run(folder.path(), "__man nowhere", &[]);
    assert!(said.contains("error: cannot write manual pages to `nowhere`"), "{said}");
    assert!(said.starts_with("exit 1\n"), "{said}");
}

/// The program that shows pages takes ours without a complaint.
#[test]
fn groff_reads_them() {
    let folder = tempfile::tempdir().expect("a folder");
    run(folder.path(), "__man .", &[]);
    let page = folder.path().join("fleetctl-start.1");
    let shown =
        Command::new("groff").args(["-man", "-Tascii", "-ww", "-P-cbou"]).arg(page).output().expect("groff runs");
    assert_eq!(String::from_utf8_lossy(&shown.stderr), "");
    let text = String::from_utf8_lossy(&shown.stdout);
    assert!(text.contains("Start units and wait until systemd says that they run"), "{text}");
    assert!(text.contains("--no-block"), "{text}");
}
