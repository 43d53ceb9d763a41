//! A database of a test, and the program that works on it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A directory with a database `db` and the files of a test.
pub(crate) struct Workplace {
    directory: TempDir,
}

impl Workplace {
    pub(crate) fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    /// With three entries of two components for Ada, and one in the global scope.
    pub(crate) fn with_notes() -> Self {
        let place = Self::new();
        let rows = [
            r#"{"id": "east", "vector": [1, 0], "metadata": {"text": "To the east", "lang": "en", "n": 1}, "scope": "user:ada"}"#,
            r#"{"id": "north", "vector": [0, 1], "metadata": {"lang": "en", "n": 2}, "scope": {"User": "ada"}}"#,
            r#"{"id": "northeast", "vector": [1, 1], "metadata": {"lang": "de", "n": 3}, "scope": "user:ada"}"#,
            r#"{"id": "east", "vector": [1, 0.1]}"#,
        ];
        let file = place.file("notes.jsonl", rows.join("\n"));
        place.run(["import", path(&file)]).succeeds();
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file and returns its path.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// The program, about the database of the test.
    pub(crate) fn command<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_llmspell-storage"));
        command
            .arg("--db")
            .arg(self.path("db"))
            .args(args)
            .current_dir(self.directory.path());
        command.env_remove("LLMSPELL_DB").stdin(Stdio::null());
        command
    }

    pub(crate) fn run<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Ran {
        Ran(self.command(args).output().unwrap())
    }

    pub(crate) fn run_with_input<'a>(&self, args: impl IntoIterator<Item = &'a str>, input: &[u8]) -> Ran {
        let mut command = self.command(args);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A program that refuses early does not read all of it.
        let _ = child.stdin.take().unwrap().write_all(input);
        Ran(child.wait_with_output().unwrap())
    }
}

pub(crate) fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The arguments that name the arrays of a benchmark.
pub(crate) fn array_args<'a>(base: &'a str, queries: &'a str, truth: &'a str) -> [&'a str; 6] {
    ["--base", base, "--queries", queries, "--truth", truth]
}

/// What a program did.
pub(crate) struct Ran(pub(crate) Output);

impl Ran {
    pub(crate) fn stdout(&self) -> String {
        String::from_utf8(self.0.stdout.clone()).unwrap()
    }

    pub(crate) fn stderr(&self) -> String {
        String::from_utf8(self.0.stderr.clone()).unwrap()
    }

    #[track_caller]
    pub(crate) fn succeeds(self) -> Self {
        assert_eq!(self.0.status.code(), Some(0), "{}", self.stderr());
        self
    }

    /// With this exit code, an `error:` line, and a last line that says what to try. Nothing of it goes to stdout.
    #[track_caller]
    pub(crate) fn fails(self, code: i32, part: &str) -> Self {
        let stderr = self.stderr();
        assert_eq!(self.0.status.code(), Some(code), "{stderr}");
        assert!(stderr.starts_with("error: "), "{stderr}");
        assert!(stderr.contains(part), "no `{part}` in {stderr}");
        let last = stderr.trim_end().lines().last().unwrap();
        assert!(last.starts_with("try: ") && last.len() > 10, "{stderr}");
        self
    }

    /// The lines of stdout, each of them JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Vec<Value> {
        let stdout = self.stdout();
        stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}")))
            .collect()
    }
}

/// The phase of each line of a bench.
pub(crate) fn phases(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["phase"].as_str().unwrap()).collect()
}

/// A version 1 `.npy` file.
pub(crate) fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(u16::try_from(header.len()).unwrap().to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

pub(crate) fn le_bytes(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}
