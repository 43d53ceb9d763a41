//! A command of the user that makes vectors: entries go to its stdin, vectors come from its stdout, a line each.
//!
//! A thread writes and another one reads, so that neither side can wait for the other with full pipes.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use llmspell_storage::limits::DIM_RANGE;
use llmspell_storage::{DistanceMetric, FieldPath, Metadata, StateScope, VectorEntry};
use serde::Serialize;
use serde_json::Value;

use super::entry_view::EntryView;
use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::input::fits::Fits;

/// The protocol, for the help of verbs that have `--with`.
pub(super) const PROTOCOL: &str = r#"The command runs once, by the shell. It reads an entry a line:
  {"text": "Ada likes tea", "id": "note-1", "scope": "user:ada", "metadata": {"text": "Ada likes tea"}}
and writes a vector a line, in the same order, and nothing else to stdout:
  [0.1, 0.2, 0.3]
Up to 64 entries are written before the first answer is read. The command must flush its output, and must not wait for
more entries before it answers those that it has. For example, embed.py:
  import json, sys
  for line in sys.stdin:
      print(json.dumps(embed(json.loads(line)["text"])), flush=True)"#;

/// The same for one text that is searched for.
pub(super) const QUERY_PROTOCOL: &str = r#"The command of --with runs by the shell, reads one line:
  {"text": "What does Ada drink?", "query": true, "id": "query", "scope": "user:ada", "metadata": {"text": "What …"}}
and writes the vector as a line, [0.1, 0.2, 0.3], and nothing else to stdout. So the command of `import --with` can be used
as it is; `query` is there for models that make other vectors of questions."#;

/// Reads the path of a field that holds text.
pub(super) fn parse_text_field(text: &str) -> Result<FieldPath, String> {
    match text.parse::<FieldPath>() {
        Ok(field) if field.own_time().is_none() => Ok(field),
        Ok(_) => Err("this is a time of the entry, and no text".into()),
        Err(error) => Err(error.to_string()),
    }
}

/// Entries that are written before the first answer is read.
pub(super) const GROUP: usize = 64;
/// The field of the metadata that holds the text, unless the call names one.
pub(super) const TEXT_FIELD: &str = "text";

/// Longest answer, in bytes; a vector of the highest dimension takes a fortieth of it.
const LINE_BYTES_MAX: u64 = 64 << 20;
/// After this wait a message says what is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a command has to end once it can read no more, or has closed its output.
const ENDING_LOOKS: u32 = 200;
const ENDING_PAUSE: Duration = Duration::from_millis(10);
/// How much of an answer that is none is shown.
const SHOWN_CHARS: usize = 80;

/// What the vectors of a command must be.
#[derive(Debug, Clone)]
pub(super) enum Expected {
    /// As a space takes them.
    Of(Fits),
    /// All as long as the first one, for a space with this metric that is still to be made.
    Alike(DistanceMetric),
}

/// What a verb does with the vectors, for its errors.
#[derive(Debug, Clone, Copy)]
pub(super) struct Job {
    /// What to do once the command is mended.
    pub(super) hint: &'static str,
    /// What is in doubt when the command answers more than it was asked.
    pub(super) doubt: &'static str,
}

/// What a command is asked, as a line of JSON.
#[derive(Debug, Serialize)]
pub(super) struct Question {
    /// What is to be embedded, where a field of the metadata holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// Whether it is searched for, and not stored: some models make other vectors of a query.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    query: bool,
    #[serde(flatten)]
    entry: EntryView,
}

impl Question {
    /// About an entry; its text is what `field` of its metadata holds, else its own. With its old vector only if the caller
    /// asks for it.
    pub(super) fn about(entry: VectorEntry, field: &FieldPath, with_vector: bool) -> Self {
        let text = text_of(&entry, field).map(str::to_string);
        let mut entry = EntryView::new(entry, with_vector);
        // It stands once in the line.
        entry.text = None;
        Self {
            text,
            query: false,
            entry,
        }
    }

    /// About a text that is stored. It stands in the metadata too, for commands that look there.
    #[cfg(feature = "mcp")]
    pub(super) fn stored(text: &str, scope: StateScope) -> Self {
        Self {
            query: false,
            ..Self::query(text, scope)
        }
    }

    /// About a text that is searched for. It stands in the metadata too, for commands that look there.
    pub(super) fn query(text: &str, scope: StateScope) -> Self {
        let mut entry = VectorEntry::new("query", Vec::<f32>::new()).with_scope(scope);
        entry.metadata = serde_json::json!({ TEXT_FIELD: text });
        Self {
            query: true,
            ..Self::about(entry, &TEXT_FIELD.into(), false)
        }
    }
}

/// The text that is embedded of an entry: of a field of its metadata, else its own.
pub(super) fn text_of<'a>(entry: &'a VectorEntry, field: &FieldPath) -> Option<&'a str> {
    let of_field = entry.metadata.as_object().and_then(|fields| text_in(fields, field));
    of_field.or(entry.text.as_deref().filter(|text| !text.trim().is_empty()))
}

/// The text that a field of some metadata holds: one that is not blank.
pub(super) fn text_in<'a>(metadata: &'a Metadata, field: &FieldPath) -> Option<&'a str> {
    let text = field.find(metadata).and_then(Value::as_str);
    text.filter(|text| !text.trim().is_empty())
}

/// A command, started when there is something to embed.
#[derive(Debug)]
pub(super) struct Embedder {
    command: String,
    expected: Expected,
    job: Job,
    running: Option<Running>,
    /// Lines that were answered.
    answered: u64,
}

#[derive(Debug)]
struct Running {
    child: Child,
    /// Dropped to say that there is no more.
    entries: Option<Sender<Vec<u8>>>,
    answers: Receiver<Result<Vec<u8>, String>>,
}

impl Embedder {
    pub(super) fn new(command: &str, expected: Expected, job: Job) -> Self {
        Self {
            command: command.to_string(),
            expected,
            job,
            running: None,
            answered: 0,
        }
    }

    /// The vectors of what is asked, at most [`GROUP`] questions; each vector is as expected.
    pub(super) fn embed(&mut self, questions: &[Question]) -> Result<Vec<Vec<f32>>, CliError> {
        let mut lines = Vec::new();
        for question in questions {
            serde_json::to_writer(&mut lines, question)
                .map_err(|error| self.failed(format!("an entry cannot be written as JSON: {error}")))?;
            lines.push(b'\n');
        }
        self.check_silent()?;
        let running = match self.running.take() {
            Some(running) => running,
            None => start(&self.command).map_err(|error| self.failed(format!("it cannot be started: {error}")))?,
        };
        let running = self.running.insert(running);
        if let Some(entries) = &running.entries {
            // The thread that writes has ended if the command reads no more; what it answered before still counts.
            let _ = entries.send(lines);
        }
        let ids = questions.iter().map(|question| &question.entry.id);
        ids.map(|id| self.next_vector(id)).collect()
    }

    /// That it has not answered what was not asked: vectors would get to the wrong entries.
    fn check_silent(&mut self) -> Result<(), CliError> {
        match &self.running {
            Some(running) if matches!(running.answers.try_recv(), Ok(Ok(_))) => {
                Err(self.failed("it answered more lines than it was asked".into()))
            }
            _ => Ok(()),
        }
    }

    fn next_vector(&mut self, id: &str) -> Result<Vec<f32>, CliError> {
        let answer = self.next_answer()?;
        let vector: Vec<f32> = serde_json::from_slice(&answer).map_err(|error| {
            let shown: String = String::from_utf8_lossy(&answer)
                .trim()
                .chars()
                .take(SHOWN_CHARS)
                .collect();
            self.failed(format!("not a JSON array of numbers ({error}): {shown}"))
        })?;
        let entry = VectorEntry::new(id, vector);
        self.check(&entry)?;
        self.answered += 1;
        Ok(entry.embedding)
    }

    /// That a vector is as expected; the first one may tell what that is.
    fn check(&mut self, entry: &VectorEntry) -> Result<(), CliError> {
        if let Expected::Alike(metric) = self.expected {
            let stored = entry.embedding.len();
            if !DIM_RANGE.contains(&stored) {
                let (least, most) = (DIM_RANGE.start(), DIM_RANGE.end());
                return Err(self.failed(format!(
                    "a vector of {stored} components; {least} to {most} are allowed"
                )));
            }
            let model = None;
            self.expected = Expected::Of(Fits {
                model,
                stored,
                metric,
                texts: None,
            });
        }
        match &self.expected {
            Expected::Of(fits) => fits.check(entry).map_err(|error| self.failed(error.to_string())),
            Expected::Alike(_) => unreachable!("the first vector has told what is expected"),
        }
    }

    fn next_answer(&mut self) -> Result<Vec<u8>, CliError> {
        let running = self.running.as_mut().expect("embed starts it first");
        let mut answer = running.answers.recv_timeout(PATIENCE);
        if matches!(answer, Err(RecvTimeoutError::Timeout)) {
            eprintln!(
                "note: waiting for the answer to line {} of `{}`; does it flush its output after each line?",
                self.answered + 1,
                self.command
            );
            answer = running.answers.recv().map_err(|_| RecvTimeoutError::Disconnected);
        }
        match answer {
            Ok(Ok(line)) => Ok(line),
            Ok(Err(reason)) => Err(self.failed(reason)),
            Err(_) => {
                let status = running.end();
                Err(self.failed(format!("it ended before it answered this line{}", status_text(status))))
            }
        }
    }

    /// Lets the command end. The vectors may be in the wrong places if it has more to say.
    pub(super) fn finish(mut self) -> Result<(), CliError> {
        let Some(running) = &mut self.running else {
            return Ok(());
        };
        running.entries = None;
        let left_over = running.answers.recv_timeout(PATIENCE);
        let status = running.end();
        match left_over {
            Ok(Ok(_)) => {
                let doubt = self.job.doubt;
                Err(self.failed(format!("it answered more lines than it was asked; {doubt}")))
            }
            Ok(Err(reason)) => Err(self.failed(reason)),
            Err(_) => {
                match status {
                    Some(status) if status.success() => {}
                    Some(status) => eprintln!("note: `{}` answered everything, and ended by {status}", self.command),
                    None => eprintln!(
                        "note: `{}` answered everything, did not end, and was stopped",
                        self.command
                    ),
                }
                Ok(())
            }
        }
    }

    /// What went wrong with the line that is next to be answered.
    fn failed(&self, reason: String) -> CliError {
        CliError::Embedder {
            command: self.command.clone(),
            line: self.answered + 1,
            reason,
            hint: self.job.hint,
        }
    }
}

impl Running {
    /// Waits a little for the command, which can read no more. None if it does not end.
    fn end(&mut self) -> Option<ExitStatus> {
        self.entries = None;
        for _ in 0..ENDING_LOOKS {
            match self.child.try_wait() {
                Ok(None) => std::thread::sleep(ENDING_PAUSE),
                Ok(status) => return status,
                Err(_) => return None,
            }
        }
        None
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.entries = None;
        // It may have ended, or may never end by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start(command: &str) -> std::io::Result<Running> {
    let (shell, option) = if cfg!(windows) { ("cmd", "/C") } else { ("sh", "-c") };
    let mut child = Command::new(shell)
        .args([option, command])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let stdin = child.stdin.take().expect("stdin is a pipe");
    let stdout = child.stdout.take().expect("stdout is a pipe");
    let (entries, to_write) = channel();
    let (read, answers) = channel();
    std::thread::spawn(move || write_all(stdin, &to_write));
    std::thread::spawn(move || read_all(stdout, &read));
    Ok(Running {
        child,
        entries: Some(entries),
        answers,
    })
}

fn write_all(mut stdin: ChildStdin, lines: &Receiver<Vec<u8>>) {
    for lines in lines {
        if stdin.write_all(&lines).and_then(|()| stdin.flush()).is_err() {
            // The command reads no more; the reader of its answers will see that it ends.
            return;
        }
    }
}

fn read_all(stdout: ChildStdout, answers: &Sender<Result<Vec<u8>, String>>) {
    let mut stdout = BufReader::new(stdout);
    loop {
        let mut line = Vec::new();
        let read = (&mut stdout).take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
        let answer = match read {
            Ok(0) => return,
            Ok(count) if count as u64 == LINE_BYTES_MAX && line.last() != Some(&b'\n') => {
                Err(format!("its answer is longer than {LINE_BYTES_MAX} bytes"))
            }
            Ok(_) => Ok(line),
            Err(error) => Err(format!("its answer cannot be read: {error}")),
        };
        let is_last = answer.is_err();
        if answers.send(answer).is_err() || is_last {
            return;
        }
    }
}

fn status_text(status: Option<ExitStatus>) -> String {
    status.map_or_else(String::new, |status| format!(" ({status})"))
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use llmspell_storage::{DistanceMetric, EmbeddingModel};

    use super::*;

    fn embedder(command: &str) -> Embedder {
        embedder_of(command, 2)
    }

    fn embedder_of(command: &str, dim: usize) -> Embedder {
        let fits = Fits {
            model: Some(EmbeddingModel::new("m", dim)),
            stored: dim,
            metric: DistanceMetric::Euclidean,
            texts: None,
        };
        let job = Job {
            hint: "mend it",
            doubt: "it is in doubt",
        };
        Embedder::new(command, Expected::Of(fits), job)
    }

    fn questions(count: usize) -> Vec<Question> {
        let entries = (0..count).map(|id| {
            let mut entry = VectorEntry::new(id.to_string(), vec![1.0]);
            entry.metadata = serde_json::json!({"body": {"text": format!("text {id}")}});
            entry
        });
        entries
            .map(|entry| Question::about(entry, &"body.text".into(), false))
            .collect()
    }

    fn failure(command: &str, count: usize) -> String {
        embedder(command).embed(&questions(count)).unwrap_err().to_string()
    }

    #[test]
    fn every_entry_gets_the_answer_to_its_own_line() {
        let mut embedder = embedder(r#"sed -u 's/{"text":"text \([0-9]*\)","id":.*/[\1, 0.5]/'"#);
        for _ in 0..2 {
            let vectors = embedder.embed(&questions(64)).unwrap();
            let expected: Vec<_> = (0..64_u8).map(|id| vec![f32::from(id), 0.5]).collect();
            assert_eq!(vectors, expected);
        }
        embedder.finish().unwrap();
    }

    #[test]
    fn answers_that_no_pipe_can_hold_stop_neither_side() {
        let mut entry = VectorEntry::new("a", vec![1.0]);
        entry.metadata = serde_json::json!({"text": "x".repeat(20_000)});
        let mut embedder = embedder_of(&format!("sed -u 's/.*/[{}1]/'", " ".repeat(20_000)), 1);
        let question = || Question::about(entry.clone(), &TEXT_FIELD.into(), false);
        let questions: Vec<_> = std::iter::repeat_with(question).take(GROUP).collect();
        let vectors = embedder.embed(&questions).unwrap();
        assert_eq!(vectors, vec![vec![1.0]; 64]);
    }

    #[test]
    fn a_command_that_fails_ends_early_or_answers_nonsense_is_told_with_the_line() {
        let text = failure("echo '[1,2]'; exit 3", 2);
        assert!(text.contains("line 2: it ended before it answered"), "{text}");
        assert!(text.contains("exit status: 3"), "{text}");
        assert!(failure("exit 0", 1).contains("line 1: it ended"));
        assert!(failure("no-such-command-of-anybody 2>&-", 1).contains("exit status: 127"));
        let text = failure("echo '[1,2]'; echo hello; cat", 2);
        assert!(text.contains("line 2: not a JSON array of numbers"), "{text}");
        assert!(text.ends_with("hello"), "{text}");
        // An empty line is an answer too: it must not pass the vector of the next entry to this one.
        assert!(failure("echo; echo '[1,2]'; cat", 1).contains("line 1: not a JSON"));
        assert!(failure("echo '[1,2,3]'; cat", 1).contains("model `m` makes vectors of 2 components; got 3"));
        assert!(failure("echo '[1,1e999]'; cat", 1).contains("line 1:"));
    }

    #[test]
    fn more_answers_than_questions_are_an_error() {
        let mut early = embedder("echo '[1,2]'; echo '[1,2]'; echo '[1,2]'; cat >/dev/null");
        early.embed(&questions(1)).unwrap();
        let before = std::time::Instant::now();
        // What is on its way arrives.
        let text = loop {
            match early.check_silent() {
                Err(error) => break error.to_string(),
                Ok(()) => assert!(before.elapsed() < Duration::from_secs(20)),
            }
        };
        assert!(text.contains("line 2: it answered more lines"), "{text}");

        let mut late = embedder("while read -r line; do echo '[1,2]'; done; echo '[1,2]'");
        late.embed(&questions(3)).unwrap();
        let text = late.finish().unwrap_err().to_string();
        assert!(text.contains("line 4: it answered more lines"), "{text}");
    }
}
