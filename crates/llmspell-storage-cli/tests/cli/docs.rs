//! Do the examples of `docs/cli.md` work as they stand there?

use std::path::Path;
use std::process::Command;

/// The blocks marked `sh`, one after the other.
fn script(page: &str) -> String {
    let blocks = page.split("```sh\n").skip(1).filter_map(|rest| rest.split_once("```"));
    blocks.map(|(block, _)| block).collect()
}

#[test]
#[cfg(unix)]
fn every_example_of_the_page_runs() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/cli.md");
    let script = script(&std::fs::read_to_string(page).unwrap());
    assert!(script.lines().filter(|line| line.contains("llmspell-storage")).count() > 20);

    let directory = tempfile::tempdir().unwrap();
    let programs = Path::new(env!("CARGO_BIN_EXE_llmspell-storage")).parent().unwrap();
    let path = std::env::join_paths(
        std::iter::once(programs.to_path_buf()).chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    );
    let out = Command::new("sh")
        .args(["-e", "-c", &script])
        .current_dir(directory.path())
        .env("PATH", path.unwrap())
        .env_remove("LLMSPELL_DB")
        .output()
        .unwrap();
    let (stdout, stderr) = (
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr),
    );
    assert!(out.status.success(), "{stdout}\n{stderr}");
    for part in [
        "Ada plays the piano",
        "not a JSON object",
        "user:bob",
        "\"phase\":\"scan\"",
    ] {
        assert!(stdout.contains(part), "no `{part}` in\n{stdout}");
    }
}
