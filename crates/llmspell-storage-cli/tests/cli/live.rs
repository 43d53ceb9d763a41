//! A directory that another process has open: `serve` in one process, the other verbs in others.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{Ran, Workplace, path};

/// A process that has the database of a test open and serves it.
struct Server {
    child: Child,
}

impl Server {
    fn start(place: &Workplace, args: &[&str]) -> Self {
        let mut command = place.command(
            ["--json", "--wait", "20", "serve"]
                .into_iter()
                .chain(args.iter().copied()),
        );
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let said: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(said["process"], child.id(), "{said}");
        Self { child }
    }

    fn signal(&mut self, signal: &str) -> Option<i32> {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
        self.child.wait().unwrap().code()
    }

    /// Ends it as an operator does.
    fn stop(mut self, place: &Workplace) {
        assert_eq!(self.signal("-TERM"), Some(0));
        assert!(!place.path("db/admin.sock").exists(), "the socket is removed");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that a failed test has left.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// With words, three spaces, one of a model, keys of all kinds, and times that are the same in each run.
fn filled() -> Workplace {
    let place = Workplace::with_notes();
    let rows: String = (0..40)
        .map(|n| {
            format!(
                "{{\"id\":\"doc-{n:02}\",\"vector\":[1,{n},0.125],\"text\":\"word{} about number {n}\",\"metadata\":{{\"n\":{n},\"even\":{}}}}}\n",
                n % 7,
                n % 2 == 0
            )
        })
        .collect();
    let rows = place.file("docs.jsonl", rows);
    place
        .run(["--space", "docs", "import", path(&rows), "--text-field", "text"])
        .succeeds();
    let zeros = vec!["0.5"; 384].join(",");
    let row = place.file("model.jsonl", format!("{{\"id\":\"m\",\"vector\":[{zeros}]}}"));
    place
        .run(["--model", "all-MiniLM-L6-v2", "import", path(&row)])
        .succeeds();
    place.run(["kv", "set", "theme", "dark"]).succeeds();
    place
        .run_with_input(["kv", "set", "raw", "-"], &[0xff, 0, 10])
        .succeeds();
    place
        .run(["--scope", "user:ada", "kv", "set", "theme", "light"])
        .succeeds();
    place
}

fn shown(ran: &Ran) -> (Vec<u8>, Vec<u8>, Option<i32>) {
    (ran.0.stdout.clone(), ran.0.stderr.clone(), ran.0.status.code())
}

/// The same with each number replaced: what is measured differs from run to run.
fn without_numbers(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let digits = text.chars().map(|char| {
        if char.is_ascii_digit() || char == '.' {
            '#'
        } else {
            char
        }
    });
    let mut masked: Vec<char> = digits.collect();
    masked.dedup_by(|next, last| (*next, *last) == ('#', '#'));
    let masked: String = masked.into_iter().collect();
    // Units change with the size of a number, and columns with its width.
    let words = masked
        .split_whitespace()
        .filter(|word| !["B", "kB", "MB", "GB"].contains(word));
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn every_verb_that_reads_answers_alike_byte_by_byte() {
    let place = filled();
    let verbs: Vec<Vec<&str>> = [
        "search --vector [1,0] --scope user:ada",
        "search --vector [1,0] --scope user:ada --scope global -k 2",
        "search --like east --scope user:ada --filter lang=en",
        "search --vector [1,0.5] --scope user:ada --threshold 0.1 --exact",
        "--space docs search --text word3",
        "--space docs search --text word3 --vector [1,2,0.1] --fusion rrf:60 --snippet 40 --texts --vectors",
        "--space docs search --vector [1,2,3,4]",
        "--model all-MiniLM-L6-v2 search --like m",
        "--space nope search --vector [1]",
        "--model nope search --vector [1]",
        "search --vector [1,0] --filter lang",
        "search --vector [1,0] --scope session:empty",
        "get east",
        "get east --vectors",
        "get nobody",
        "--scope session:empty get nobody",
        "list",
        "--scope user:ada list --newest --limit 2",
        "--scope user:ada list --newest --after nobody",
        "--space docs list --after doc-07 --limit 3 --filter even=true",
        "--space docs list --all --vectors",
        "--space docs list --reverse --limit 3",
        "count",
        "--space docs count --filter n>=20",
        "--space docs facet even",
        "--space docs facet n --limit 5",
        "facet nothing",
        "--space docs sample --seed 7",
        "scope ls",
        "space ls",
        "model ls",
        "stats --scope user:ada",
        "kv get theme",
        "kv get raw",
        "--scope user:ada kv get theme",
        "kv get nothing",
        "kv scan",
        "kv scan --limit 1",
    ]
    .into_iter()
    .map(|verb| verb.split(' ').collect())
    .collect();
    let measured: Vec<Vec<&str>> = [
        "stats",
        "--space docs stats",
        "check",
        "check --deep",
        "clock",
        "--space docs search --like doc-01 --explain",
        "search --vector [1,0.5] --scope user:ada --recency 7d",
    ]
    .into_iter()
    .map(|verb| verb.split(' ').collect())
    .collect();

    let run = |verbs: &[Vec<&str>]| -> Vec<_> {
        let all = verbs
            .iter()
            .flat_map(|args| [args.clone(), [&["--json"], &args[..]].concat()]);
        all.map(|args| (args.join(" "), shown(&place.run(args.iter().copied()))))
            .collect()
    };
    let (here, here_measured) = (run(&verbs), run(&measured));
    let server = Server::start(&place, &[]);
    let (there, there_measured) = (run(&verbs), run(&measured));
    let codes: Vec<_> = here.iter().filter_map(|(_, (_, _, code))| *code).collect();
    assert!(
        [0, 3, 64].iter().all(|code| codes.contains(code)),
        "good and bad calls are among them"
    );
    for (here, there) in here.iter().zip(&there) {
        let text = |ran: &(Vec<u8>, Vec<u8>, Option<i32>)| {
            format!("{}{}", String::from_utf8_lossy(&ran.0), String::from_utf8_lossy(&ran.1))
        };
        assert!(here == there, "{}\n{}\n{}", here.0, text(&here.1), text(&there.1));
    }
    for ((args, here), (_, there)) in here_measured.iter().zip(&there_measured) {
        assert_eq!(without_numbers(&here.0), without_numbers(&there.0), "{args}");
        assert_eq!(here.2, there.2, "{args}");
    }
    let note = &there_measured
        .iter()
        .find(|(args, _)| args == "check --deep")
        .unwrap()
        .1
        .1;
    assert!(String::from_utf8_lossy(note).contains("verified when it is opened"));

    // A backup that the other process writes, where this one said.
    let receipt = place.run(["--json", "backup", "copy"]).succeeds().json();
    assert_eq!(receipt[0]["phase"], "backup");
    server.stop(&place);
    place.run(["restore", "copy", "--to", "restored"]).succeeds();
    let restored = place.path("restored");
    let list = |args: [&str; 5]| shown(&place.run(args));
    assert_eq!(
        list(["--db", path(&restored), "--space", "docs", "list"]),
        list(["--db", path(&place.path("db")), "--space", "docs", "list"])
    );
}

#[test]
fn verbs_that_write_are_refused_unless_the_server_allows_them() {
    // Given: a server for reading.
    let place = filled();
    let rows = place.file(
        "more.jsonl",
        "{\"id\": \"more\", \"vector\": [3, 4]}\n{\"id\": \"east\", \"vector\": [0, 1]}\n",
    );
    let of_model = place.file(
        "of-model.jsonl",
        format!("{{\"id\":\"big\",\"vector\":[{}]}}", vec!["0.25"; 1024].join(",")),
    );
    let server = Server::start(&place, &[]);
    let before = shown(&place.run(["--json", "list", "--all", "--vectors"]));

    // When: each verb that writes is tried.
    let refusal = "takes no writes";
    place.run(["import", path(&rows), "--upsert"]).fails(64, refusal);
    place.run(["--space", "new", "import", path(&rows)]).fails(64, refusal);
    place
        .run(["--model", "bge-m3", "import", path(&of_model)])
        .fails(64, refusal);
    place.run(["delete", "east"]).fails(64, refusal);
    place.run(["delete", "--filter", "true"]).fails(64, refusal);
    place.run(["touch", "east", "--ttl", "1h"]).fails(64, refusal);
    place.run(["kv", "set", "theme", "light"]).fails(64, refusal);
    place.run(["kv", "del", "theme"]).fails(64, refusal);
    let refused = place
        .run(["kv", "cas", "theme", "--expect", "dark", "--new", "light"])
        .fails(64, refusal);
    assert!(refused.stderr().contains("serve --writes"), "{}", refused.stderr());

    // Then: nothing has changed.
    assert_eq!(shown(&place.run(["--json", "list", "--all", "--vectors"])), before);
    assert_eq!(place.run(["kv", "get", "theme"]).stdout(), "dark");
    assert_eq!(place.run(["--json", "space", "ls"]).json().len(), 3);
    server.stop(&place);

    // When: the server allows writes.
    let server = Server::start(&place, &["--writes"]);
    place.run(["import", path(&rows)]).fails(5, "id `east` exists");
    place
        .run(["import", path(&rows), "--resume"])
        .fails(64, "exists in its scope");
    place.run(["import", path(&rows), "--upsert"]).succeeds();
    place.run(["--space", "new", "import", path(&rows)]).succeeds();
    place.run(["--model", "bge-m3", "import", path(&of_model)]).succeeds();
    place.run(["--scope", "user:ada", "delete", "north"]).succeeds();
    place
        .run(["--space", "docs", "delete", "--filter", "n >= 10"])
        .succeeds();
    place.run(["touch", "east", "--ttl", "1h"]).succeeds();
    place.run(["kv", "set", "theme", "light", "--ttl", "1h"]).succeeds();
    place
        .run_with_input(["kv", "set", "bytes", "-"], &[1, 0xfe, 0])
        .succeeds();
    place.run(["kv", "del", "raw"]).succeeds();
    place
        .run(["kv", "cas", "theme", "--expect", "dark", "--new", "x"])
        .fails(5, "not the expected one");
    server.stop(&place);

    // Then: the directory has it all.
    let list = place.run(["--json", "list", "--vectors"]).json();
    assert_eq!(
        (&list[0]["id"], &list[0]["vector"]),
        (&"east".into(), &serde_json::json!([0.0, 1.0]))
    );
    assert!(list[0]["expires_at"].is_string());
    assert_eq!(list[1]["id"], "more");
    assert_eq!(place.run(["--scope", "user:ada", "count"]).stdout(), "2\n");
    assert_eq!(place.run(["--space", "docs", "count"]).stdout(), "10\n");
    assert_eq!(place.run(["--space", "new", "count"]).stdout(), "2\n");
    assert_eq!(place.run(["--model", "bge-m3", "count"]).stdout(), "1\n");
    assert_eq!(place.run(["kv", "get", "theme"]).stdout(), "light");
    assert_eq!(place.run(["kv", "get", "bytes"]).0.stdout, [1, 0xfe, 0]);
    place.run(["kv", "get", "raw"]).fails(3, "no key `raw`");
    place.run(["check", "--deep"]).succeeds();
}

#[test]
fn verbs_that_need_the_directory_for_themselves_say_so() {
    let place = filled();
    let server = Server::start(&place, &["--writes"]);
    let alone: [&[&str]; 8] = [
        &["compact"],
        &["serve"],
        &["export", "all.jsonl"],
        &["index", "build"],
        &["scope", "quota", "user:ada"],
        &["space", "rm", "docs", "--yes"],
        &["clock", "--reset"],
        &["model", "add", "mine", "--dim", "8"],
    ];
    for args in alone {
        let refused = place
            .run(args.iter().copied())
            .fails(4, "while another process has the database open");
        assert!(
            refused.stderr().contains(&format!("(process {})", server.child.id())),
            "{}",
            refused.stderr()
        );
    }
    // Waiting is for the end of the other process, where that is needed, and for nothing where it is not.
    let begun = Instant::now();
    place.run(["--wait", "60", "count"]).succeeds();
    assert!(begun.elapsed() < Duration::from_secs(30));
    server.stop(&place);
    place.run(["compact"]).succeeds();
    place.run(["check", "--deep"]).succeeds();
}

#[test]
fn a_directory_that_is_open_and_not_served_is_refused_and_the_hint_says_how_to_serve_it() {
    let place = filled();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let database = runtime
        .block_on(llmspell_storage::Database::open(place.path("db")))
        .unwrap();
    let refused = place.run(["count"]).fails(4, "is open elsewhere");
    assert!(
        refused.stderr().contains("Database::serve_admin"),
        "{}",
        refused.stderr()
    );
    // What a killed process has left is no server.
    drop(std::os::unix::net::UnixListener::bind(place.path("db/admin.sock")).unwrap());
    place.run(["count"]).fails(4, "is open elsewhere");
    // The application itself may serve it.
    runtime
        .block_on(database.serve_admin(place.path("db/admin.sock")))
        .unwrap();
    assert_eq!(place.run(["count"]).succeeds().stdout(), "1\n");
    runtime.block_on(database.close()).unwrap();
}

#[test]
fn a_server_that_is_killed_leaves_a_good_database_and_a_socket_that_the_next_replaces() {
    // Given: a server that writes a backup for a client, slowly.
    let place = filled();
    let mut rows = String::new();
    for n in 0..3_000 {
        rows += &format!(
            "{{\"id\":\"{n}\",\"vector\":[{}]}}\n",
            vec![(n + 1).to_string(); 200].join(",")
        );
    }
    let rows = place.file("many.jsonl", rows);
    place.run(["--space", "many", "import", path(&rows)]).succeeds();
    let mut server = Server::start(&place, &["--writes"]);
    let mut backup = place.command(["backup", "slow", "--max-rate", "1"]);
    let backup = backup.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while !place.path("slow/LOCK").exists() {
        assert!(Instant::now() < deadline, "the backup never began");
        std::thread::sleep(Duration::from_millis(5));
    }

    // When: it is killed in the middle of that.
    place.run(["kv", "set", "last", "acknowledged"]).succeeds();
    assert_eq!(server.signal("-KILL"), None);

    // Then: the client says that the answer is lost, the socket is stale, and the next server replaces it.
    Ran(backup.wait_with_output().unwrap()).fails(1, "no connection to the process that has the database open");
    assert!(
        std::fs::symlink_metadata(place.path("db/admin.sock"))
            .unwrap()
            .file_type()
            .is_socket()
    );
    assert_eq!(place.run(["kv", "get", "last"]).succeeds().stdout(), "acknowledged");
    let server = Server::start(&place, &[]);
    assert_eq!(place.run(["--space", "many", "count"]).succeeds().stdout(), "3000\n");
    place.run(["check", "--deep"]).succeeds();
    place.run(["backup", "slow"]).succeeds();
    server.stop(&place);
}

#[test]
fn a_hundred_processes_and_clients_that_say_nothing_are_no_danger_to_each_other() {
    let place = filled();
    let server = Server::start(&place, &["--writes"]);
    // Half of the places of the server are taken by connections that say nothing.
    let silent: Vec<_> = (0..16)
        .map(|_| UnixStream::connect(place.path("db/admin.sock")).unwrap())
        .collect();
    let running: Vec<_> = (0..100)
        .map(|n| {
            let mut command = place.command(["kv", "set", &format!("key-{n:03}"), "x"]);
            command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for child in running {
        Ran(child.wait_with_output().unwrap()).succeeds();
    }
    assert_eq!(place.run(["--json", "kv", "scan", "key-"]).json().len(), 100);
    // A silent one is told why it goes, and that it goes.
    let mut last = Vec::new();
    (&silent[0]).read_to_end(&mut last).unwrap();
    assert!(
        String::from_utf8_lossy(&last).contains("arrival of the request"),
        "{}",
        String::from_utf8_lossy(&last)
    );
    server.stop(&place);
}
