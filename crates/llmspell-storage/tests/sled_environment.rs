//! The sled backend in a bad environment: a second process, a foreign directory, damaged files.
#![cfg(feature = "sled")]
#![expect(clippy::unwrap_used, reason = "an error is a failed test")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use llmspell_storage::{ErrorKind, SledBackend, StorageError};

/// Set for the child process of [`given_another_process_when_it_is_killed_then_the_directory_opens_with_what_it_wrote`].
const CHILD_DIRECTORY: &str = "LLMSPELL_TEST_SLED_DIRECTORY";

async fn open(path: &Path) -> llmspell_storage::Result<SledBackend> {
    SledBackend::open(path).await
}

#[tokio::test]
async fn a_second_handle_in_one_process_is_told_who_holds_the_directory() {
    let directory = tempfile::tempdir().unwrap();
    let first = open(directory.path()).await.unwrap();
    first.set("key", b"value".to_vec()).await.unwrap();
    let error = open(directory.path()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(
        error.to_string().contains("by another handle in this process"),
        "{error}"
    );
    drop(first);
    let again = open(directory.path()).await.unwrap();
    assert_eq!(again.get("key").await.unwrap().as_deref(), Some(&b"value"[..]));
}

/// The other process: writes, says so, and waits to be killed.
async fn hold(path: &Path) {
    let backend = open(path).await.unwrap();
    for number in 0..100_u8 {
        backend.set(&format!("{number:03}"), vec![number; 5_000]).await.unwrap();
    }
    println!("\nwritten");
    std::thread::sleep(std::time::Duration::from_secs(60));
}

struct KillOnDrop(Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn given_another_process_when_it_is_killed_then_the_directory_opens_with_what_it_wrote() {
    if let Some(path) = std::env::var_os(CHILD_DIRECTORY) {
        return hold(Path::new(&path)).await;
    }
    // Given: a process that has written and holds the directory.
    let directory = tempfile::tempdir().unwrap();
    let mut child = KillOnDrop(
        Command::new(std::env::current_exe().unwrap())
            .args(["given_another_process", "--nocapture"])
            .env(CHILD_DIRECTORY, directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
    assert!(
        lines.map_while(Result::ok).any(|line| line == "written"),
        "the child writes"
    );
    let error = open(directory.path()).await.unwrap_err();
    let holder = format!("process {}", child.0.id());
    assert!(
        matches!(&error, StorageError::AlreadyOpen { holder: found, .. } if *found == holder),
        "{error}"
    );

    // When: it dies without a chance to close anything.
    drop(child);

    // Then: everything it was told to be durable is there.
    let backend = open(directory.path()).await.unwrap();
    assert_eq!(backend.verify().await.unwrap().keys, 100);
    for number in 0..100_u8 {
        assert_eq!(
            backend.get(&format!("{number:03}")).await.unwrap(),
            Some(vec![number; 5_000])
        );
    }
}

#[tokio::test]
async fn a_foreign_directory_is_refused_and_not_touched() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("thesis.txt"), "all of it").unwrap();
    let error = open(directory.path()).await.unwrap_err();
    assert!(matches!(error, StorageError::ForeignDirectory { .. }), "{error}");
    assert!(error.to_string().contains("thesis.txt"), "{error}");
    assert_eq!(
        fs::read_dir(directory.path()).unwrap().count(),
        1,
        "nothing was made in it"
    );

    let file = directory.path().join("thesis.txt");
    let error = open(&file).await.unwrap_err();
    assert!(
        matches!(error, StorageError::ForeignDirectory { .. }),
        "a file: {error}"
    );
    assert_eq!(fs::read(file).unwrap(), b"all of it");
}

#[tokio::test]
async fn another_kind_or_version_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()).await.unwrap());
    let format = directory.path().join("FORMAT");
    let text = fs::read_to_string(&format).unwrap();
    assert_eq!(
        text, "llmspell-storage sled\nversion 2\n",
        "the bytes of the marker never change"
    );

    fs::write(&format, "llmspell-storage sled\nversion 3\n").unwrap();
    let error = open(directory.path()).await.unwrap_err();
    assert!(
        matches!(
            error,
            StorageError::UnsupportedVersion {
                found: 3,
                min: 1,
                max: 2,
                ..
            }
        ),
        "{error}"
    );
    for text in ["something else\nversion 1\n", "", "llmspell-storage sled\n"] {
        fs::write(&format, text).unwrap();
        let error = open(directory.path()).await.unwrap_err();
        assert!(matches!(error, StorageError::ForeignDirectory { .. }), "{error}");
    }
    fs::write(&format, text).unwrap();
    drop(open(directory.path()).await.unwrap());
}

#[tokio::test]
async fn an_interrupted_first_opening_is_taken_up_again() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("LOCK"), "process 1\n").unwrap();
    fs::write(directory.path().join("FORMAT.new"), "llmsp").unwrap();
    let backend = open(directory.path()).await.unwrap();
    backend.set("key", b"value".to_vec()).await.unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn a_read_only_directory_is_refused_as_such() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o555)).unwrap();
    if fs::write(directory.path().join("probe"), "").is_ok() {
        eprintln!("skipped: permissions do not bind this user");
        return;
    }
    let error = open(directory.path()).await.unwrap_err();
    assert!(matches!(error, StorageError::ReadOnly { .. }), "{error}");
}

#[tokio::test]
async fn a_snapshot_that_was_being_written_is_put_aside() {
    let directory = tempfile::tempdir().unwrap();
    let backend = open(directory.path()).await.unwrap();
    backend.set("key", b"value".to_vec()).await.unwrap();
    drop(backend);
    let leftover = "snap.ffffffffffffffff.generating";
    fs::write(directory.path().join("data").join(leftover), b"half of a snapshot").unwrap();

    let backend = open(directory.path()).await.unwrap();
    assert_eq!(backend.get("key").await.unwrap().as_deref(), Some(&b"value"[..]));
    assert!(
        directory.path().join("quarantine").join(leftover).exists(),
        "kept, in case that it was needed"
    );
}

/// Keys and values of the database that is damaged below: small and large ones, and one in a file of its own.
fn stored() -> Vec<(String, Vec<u8>)> {
    let small = (0..150_u32).map(|number| (format!("small/{number:03}"), number.to_le_bytes().repeat(20)));
    let large = (0..12_u8).map(|number| (format!("large/{number:02}"), vec![number; 40_000]));
    small
        .chain(large)
        .chain([("own file".to_string(), vec![9; 900_000])])
        .collect()
}

async fn make(path: &Path) {
    let backend = open(path).await.unwrap();
    for (key, value) in stored() {
        backend.set(&key, value).await.unwrap();
    }
    assert_eq!(backend.delete_batch(["small/007"]).await.unwrap(), 1);
    drop(backend);
    // Opened and closed once more, so that there is a snapshot.
    drop(open(path).await.unwrap());
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn files(path: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found.sort();
    found
}

/// What came of a damaged database.
#[derive(Debug, Default)]
struct Outcome {
    refused: u32,
    reported: u32,
    unharmed: u32,
}

/// Opens a damaged database and reads everything: each answer is right, or an error that says that data are damaged.
async fn check_damaged(path: &Path, what: &str, outcome: &mut Outcome) {
    let is_damage = |error: &StorageError| assert_eq!(error.kind(), ErrorKind::Data, "{what}: {error}");
    let backend = match open(path).await {
        Ok(backend) => backend,
        Err(error) => {
            outcome.refused += 1;
            return is_damage(&error);
        }
    };
    let mut is_reported = false;
    for (key, value) in stored() {
        let expected = (key != "small/007").then_some(value);
        match backend.get(&key).await {
            Ok(found) => assert!(
                found == expected,
                "{what}: a wrong answer for {key}: {:?}",
                found.map(|value| value.len())
            ),
            Err(error) => {
                is_reported = true;
                is_damage(&error);
            }
        }
    }
    match backend.verify().await {
        Ok(report) => assert_eq!(report.keys, stored().len() as u64 - 1, "{what}"),
        Err(error) => {
            is_reported = true;
            is_damage(&error);
        }
    }
    if is_reported {
        outcome.reported += 1;
    } else {
        outcome.unharmed += 1;
    }
}

#[tokio::test]
async fn damaged_files_are_reported_and_never_give_a_wrong_answer() {
    let directory = tempfile::tempdir().unwrap();
    let original = directory.path().join("original");
    make(&original).await;
    let mut outcome = Outcome::default();
    let mut case = 0;
    for file in files(&original) {
        let name = file.strip_prefix(&original).unwrap();
        let bytes = fs::read(&file).unwrap();
        let len = bytes.len();
        let mut damages: Vec<(String, Vec<u8>)> = Vec::new();
        for place in (0..12).map(|step| step * len / 12).filter(|place| *place < len) {
            let mut flipped = bytes.clone();
            flipped[place] ^= 0x10;
            damages.push((
                format!("{} with a flipped bit in byte {place} of {len}", name.display()),
                flipped,
            ));
        }
        for kept in [0, len / 3, len.saturating_sub(1)] {
            damages.push((
                format!("{} cut to {kept} of {len} bytes", name.display()),
                bytes[..kept].to_vec(),
            ));
        }
        for (what, damaged) in damages {
            let path = directory.path().join(format!("case {case}"));
            case += 1;
            copy(&original, &path);
            fs::write(path.join(name), damaged).unwrap();
            eprintln!("{what}");
            check_damaged(&path, &what, &mut outcome).await;
            fs::remove_dir_all(&path).unwrap();
        }
    }
    eprintln!("{case} cases: {outcome:?}");
    assert!(
        outcome.refused + outcome.reported > 10,
        "some of it must have hit: {outcome:?}"
    );
}
