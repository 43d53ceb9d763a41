//! Backups and restores survive kills: a small part of `cargo xtask crash --backend backup --cycles 2000`.

use std::process::Command;

#[test]
fn a_database_its_backup_and_a_restore_survive_fifty_kills() {
    let out = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(["crash", "--backend", "backup", "--cycles", "50", "--seed", "17"])
        .output()
        .expect("it starts");
    let (stdout, stderr) = (
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr),
    );
    assert!(out.status.success(), "{stdout}\n{stderr}");
    assert!(stdout.contains("0 violations"), "{stdout}");
}
