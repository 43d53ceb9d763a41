//! The verb `mcp`, by a client of its own that speaks JSON-RPC over stdin and stdout.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod client;

use std::process::Command;
use std::time::{Duration, Instant};

use client::{Client, Place};
use serde_json::{Value, json};

#[test]
fn the_tools_are_listed_with_their_hints_and_a_server_that_only_reads_has_no_others() {
    let place = Place::new();
    let mut client = Client::start(&place, &["--scope", "user:ada", "mcp"]);
    assert_eq!(client.server["serverInfo"]["name"], "llmspell-storage");
    let tools = client.request("tools/list", json!({})).unwrap()["tools"].clone();
    let names: Vec<_> = tools
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| tool["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "remember",
            "recall",
            "forget",
            "list",
            "get",
            "set_value",
            "get_value",
            "stats"
        ]
    );
    for tool in tools.as_array().unwrap() {
        let hints = &tool["annotations"];
        let (reads, destroys) = match tool["name"].as_str().unwrap() {
            "remember" => (false, false),
            "forget" | "set_value" => (false, true),
            _ => (true, false),
        };
        assert_eq!(
            (&hints["readOnlyHint"], &hints["destructiveHint"]),
            (&json!(reads), &json!(destroys)),
            "{tool}"
        );
        assert_eq!(tool["inputSchema"]["type"], "object");
        assert_eq!(tool["inputSchema"]["additionalProperties"], false);
    }
    client
        .tool("remember", json!({"text": "Ada likes tea", "id": "tea"}))
        .unwrap();
    client.end();

    let mut reader = Client::start(&place, &["--scope", "user:ada", "mcp", "--read-only"]);
    let tools = reader.request("tools/list", json!({})).unwrap();
    assert_eq!(tools["tools"].as_array().unwrap().len(), 5);
    for (tool, arguments) in [
        ("remember", json!({"text": "x"})),
        ("forget", json!({"ids": ["tea"]})),
        ("set_value", json!({"key": "k", "value": 1})),
    ] {
        let error = reader.tool(tool, arguments).unwrap_err();
        assert!(error.contains("there is no tool"), "{error}");
    }
    assert_eq!(
        reader.tool("recall", json!({"query": "tea"})).unwrap()["results"][0]["id"],
        "tea"
    );
    reader.end();
    // A server that only reads makes no database.
    let nothing = Place::new();
    let out = nothing.command(&["mcp", "--read-only"]).output().unwrap();
    assert_eq!(out.status.code(), Some(3));
    assert!(!nothing.path("db").exists());
}

#[test]
fn what_is_remembered_is_recalled_listed_read_and_forgotten() {
    let place = Place::new();
    let mut client = Client::start(&place, &["--scope", "user:ada", "--scope", "global", "mcp"]);
    // An empty memory answers, too.
    assert_eq!(
        client.tool("recall", json!({"query": "anything"})).unwrap()["results"],
        json!([])
    );
    assert_eq!(client.tool("list", json!({})).unwrap()["entries"], json!([]));
    assert_eq!(client.tool("stats", json!({})).unwrap()["scopes"][0]["entries"], 0);

    let texts = [
        "Ada drinks Earl Grey tea in the morning",
        "The deploy key lives in the vault",
        "Ada's sister plays the piano",
    ];
    for (n, text) in texts.iter().enumerate() {
        let arguments = json!({"text": text, "id": format!("m{n}"), "metadata": {"n": n, "topic": if n == 1 { "ops" } else { "people" }}, "event_time": "2026-11-01"});
        assert_eq!(
            client.tool("remember", arguments).unwrap(),
            json!({"id": format!("m{n}"), "scope": "user:ada"})
        );
    }
    let shared = client
        .tool(
            "remember",
            json!({"text": "The office has two pianos", "scope": "global", "ttl": "7d"}),
        )
        .unwrap();
    assert_eq!(shared["scope"], "global");
    let taken = client
        .tool("remember", json!({"text": "other", "id": "m0"}))
        .unwrap_err();
    assert!(
        taken.contains("exists in its scope") && taken.contains("forget"),
        "{taken}"
    );

    let found = client.tool("recall", json!({"query": "piano"})).unwrap();
    assert_eq!(found["results"][0]["id"], "m2");
    let scopes: Vec<_> = client.tool("recall", json!({"query": "piano*"})).unwrap()["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| result["scope"].as_str().unwrap().to_string())
        .collect();
    assert_eq!(scopes.len(), 2);
    assert!(
        scopes.contains(&"global".to_string()),
        "all scopes of the server are searched"
    );
    let people = json!({"query": "Ada vault", "filter": {"eq": {"field": "topic", "value": "people"}}, "half_life": "7d", "scope": "user:ada"});
    let people = client.tool("recall", people).unwrap();
    assert_eq!(people["results"].as_array().unwrap().len(), 2, "{people}");
    assert_eq!(people["results"][0]["metadata"]["topic"], "people");

    let first = client.tool("list", json!({"limit": 3})).unwrap();
    assert_eq!(first["entries"].as_array().unwrap().len(), 3);
    let rest = client
        .tool("list", json!({"limit": 3, "cursor": first["next"]}))
        .unwrap();
    assert_eq!(
        (rest["entries"][0]["id"].clone(), rest["next"].clone()),
        (json!("m0"), Value::Null)
    );
    let entry = client.tool("get", json!({"id": "m1"})).unwrap();
    assert_eq!((&entry["text"], &entry["metadata"]["n"]), (&json!(texts[1]), &json!(1)));
    assert_eq!(entry["event_time"], "2026-11-01T00:00:00Z");
    assert!(
        client
            .tool("get", json!({"id": "nobody"}))
            .unwrap_err()
            .contains("no entry `nobody`")
    );

    let listed = client.request("resources/list", json!({})).unwrap();
    let resources = listed["resources"].as_array().unwrap();
    assert_eq!(resources.len(), 4);
    for resource in resources {
        let read = client
            .request("resources/read", json!({"uri": resource["uri"]}))
            .unwrap();
        let content: Value = serde_json::from_str(read["contents"][0]["text"].as_str().unwrap()).unwrap();
        assert_eq!(content["id"], resource["name"]);
    }
    let templates = client.request("resources/templates/list", json!({})).unwrap();
    assert_eq!(
        templates["resourceTemplates"][0]["uriTemplate"],
        "memory:///{scope}/{id}"
    );

    let value = json!({"theme": "dark", "sizes": [1, 2.5, null]});
    client
        .tool("set_value", json!({"key": "settings", "value": value}))
        .unwrap();
    assert_eq!(
        client.tool("get_value", json!({"key": "settings"})).unwrap()["value"],
        value
    );
    client
        .tool("set_value", json!({"key": "settings", "value": null, "ttl": "1h"}))
        .unwrap();
    assert_eq!(
        client.tool("get_value", json!({"key": "settings"})).unwrap()["scope"],
        "user:ada"
    );
    assert_eq!(
        client.tool("get_value", json!({"key": "nothing"})).unwrap()["value"],
        Value::Null
    );

    let stats = client.tool("stats", json!({})).unwrap();
    assert_eq!(
        stats["scopes"],
        json!([{"scope": "user:ada", "entries": 3}, {"scope": "global", "entries": 1}])
    );
    assert_eq!(
        client.tool("forget", json!({"ids": ["m0", "m1", "gone"]})).unwrap()["forgotten"],
        2
    );
    client.end();

    // What it stored is there for the command line, and for the next server.
    assert_eq!(place.stdout(&["--scope", "user:ada", "count"]), "1\n");
    assert_eq!(
        place
            .stdout(&["--scope", "user:ada", "search", "--text", "sister", "--json"])
            .lines()
            .count(),
        1
    );
    let mut client = Client::start(&place, &["--scope", "user:ada", "mcp"]);
    assert_eq!(client.tool("list", json!({})).unwrap()["entries"][0]["id"], "m2");
    client.end();
    place.stdout(&["check", "--deep"]);
}

/// A command that makes vectors: texts about drinks point one way, the others another; the second component says whether
/// it is a query.
const EMBED: &str = r#"while read -r line; do
    case $line in *'"query":true'*) q=0.1 ;; *) q=0 ;; esac
    case $line in *tea*|*coffee*|*beverage*) echo "[1,0,$q]" ;; *) echo "[0,1,$q]" ;; esac
done"#;

#[test]
fn with_a_command_that_makes_vectors_texts_are_found_by_meaning_too() {
    let place = Place::new();
    let mut client = Client::start(&place, &["--scope", "user:ada", "mcp", "--with", EMBED]);
    client
        .tool("remember", json!({"text": "Ada likes tea", "id": "tea"}))
        .unwrap();
    client
        .tool("remember", json!({"text": "The vault is closed", "id": "vault"}))
        .unwrap();
    // No word of it is in the texts.
    let found = client
        .tool("recall", json!({"query": "which beverage", "limit": 1}))
        .unwrap();
    assert_eq!(found["results"][0]["id"], "tea", "{found}");
    assert_eq!(
        client.tool("stats", json!({})).unwrap()["found_by"],
        "words and meaning"
    );
    client.end();
    // Without the command, words still find it, and the vectors do not get in the way.
    let mut client = Client::start(&place, &["--scope", "user:ada", "mcp"]);
    assert_eq!(
        client.tool("recall", json!({"query": "which beverage"})).unwrap()["results"],
        json!([])
    );
    assert_eq!(
        client.tool("recall", json!({"query": "vault"})).unwrap()["results"][0]["id"],
        "vault"
    );
    client
        .tool("remember", json!({"text": "Words alone", "id": "words"}))
        .unwrap();
    client.end();
    // A command that fails is told to the agent, and tried again.
    let broken = format!(
        "if test -e {}; then {EMBED}; else exit 7; fi",
        place.path("mended").display()
    );
    let mut client = Client::start(&place, &["--scope", "user:ada", "mcp", "--with", &broken]);
    let error = client.tool("recall", json!({"query": "tea"})).unwrap_err();
    assert!(error.contains("ended before it answered"), "{error}");
    std::fs::write(place.path("mended"), "").unwrap();
    assert_eq!(
        client.tool("recall", json!({"query": "beverage", "limit": 1})).unwrap()["results"][0]["id"],
        "tea"
    );
    client.end();
}

#[test]
fn nothing_that_a_client_says_leads_out_of_the_scopes_of_its_server() {
    // Given: Bob's secrets, and some that belong to no scope, beside a server for Ada.
    const SECRET: &str = "BOB-SECRET";
    let place = Place::new();
    let mut bob = Client::start(&place, &["--scope", "user:bob", "mcp"]);
    bob.tool(
        "remember",
        json!({"text": format!("{SECRET} in an entry"), "id": "secret"}),
    )
    .unwrap();
    bob.tool("set_value", json!({"key": "secret", "value": SECRET}))
        .unwrap();
    for n in 0..5 {
        bob.tool("remember", json!({"text": format!("{SECRET} number {n}")}))
            .unwrap();
    }
    let cursor = bob.tool("list", json!({"limit": 2})).unwrap()["next"].clone();
    bob.end();
    place.stdout(&["kv", "set", "shared", SECRET]);
    let before = place.stdout(&["--json", "--scope", "user:bob", "list"]);
    let mut ada = Client::start(&place, &["--scope", "user:ada", "mcp"]);
    ada.tool("remember", json!({"text": "Ada's own", "id": "own"})).unwrap();

    // When: each tool is asked for them, in every way there is.
    let mut answers = Vec::new();
    let scopes = [
        json!("user:bob"),
        json!("global"),
        json!("user:ada/../user:bob"),
        json!(" user:bob"),
        json!("USER:bob"),
        json!("bob"),
        json!("user:"),
        json!("user:*"),
        json!({"User": "bob"}),
        json!(["user:ada", "user:bob"]),
        json!(7),
        json!("user:ada\u{0}user:bob"),
    ];
    for scope in &scopes {
        for (tool, arguments) in [
            ("recall", json!({"query": SECRET, "scope": scope})),
            ("list", json!({"scope": scope})),
            ("get", json!({"id": "secret", "scope": scope})),
            ("forget", json!({"ids": ["secret"], "scope": scope})),
            ("remember", json!({"text": "planted", "id": "secret", "scope": scope})),
            (
                "set_value",
                json!({"key": "secret", "value": "planted", "scope": scope}),
            ),
            ("get_value", json!({"key": "secret", "scope": scope})),
        ] {
            let refused = ada.tool(tool, arguments).expect_err("it is outside");
            answers.push(refused);
        }
    }
    for id in ["secret", "user:bob/secret", "../bob/secret"] {
        answers.push(ada.tool("get", json!({"id": id})).unwrap_err());
        assert_eq!(ada.tool("forget", json!({"ids": [id]})).unwrap()["forgotten"], 0);
    }
    for key in [
        "secret",
        "shared",
        "8:user:bob/secret",
        "../8:user:bob/secret",
        "0:/shared",
    ] {
        let answer = ada.tool("get_value", json!({"key": key})).unwrap();
        assert_eq!(answer["value"], Value::Null, "{answer}");
    }
    let filters = [
        json!({"eq": {"field": "scope", "value": "user:bob"}}),
        json!({"or": [{"eq": {"field": "@scope", "value": "user:bob"}}, {"exists": "text"}]}),
        json!({"and": []}),
    ];
    for filter in &filters {
        answers.push(format!(
            "{:?}",
            ada.tool("recall", json!({"query": SECRET, "filter": filter}))
        ));
        answers.push(format!("{:?}", ada.tool("list", json!({"filter": filter}))));
    }
    answers.push(format!("{:?}", ada.tool("list", json!({"cursor": cursor}))));
    answers.push(format!(
        "{:?}",
        ada.request("resources/list", json!({"cursor": cursor}))
    ));
    for uri in [
        "memory:///user:bob/secret",
        "memory:///user%3Abob/secret",
        "memory:///user:ada/..%2Fuser:bob%2Fsecret",
        "memory:///user:ada/../user:bob/secret",
        "memory:///global/shared",
        "memory://user:bob/secret",
        "file:///etc/passwd",
        "",
    ] {
        answers.push(ada.request("resources/read", json!({"uri": uri})).unwrap_err());
    }
    answers.push(ada.request("resources/list", json!({})).unwrap().to_string());
    answers.push(ada.tool("stats", json!({})).unwrap().to_string());
    answers.push(format!(
        "{:?}",
        ada.tool(
            "recall",
            json!({"query": SECRET, "space": "default", "scopes": ["user:bob"]})
        )
    ));
    ada.end();

    // Then: no answer has them, or says that they are there, and nothing of Bob's has changed.
    for answer in &answers {
        assert!(!answer.contains(SECRET) && !answer.contains("number 1"), "{answer}");
    }
    assert_eq!(place.stdout(&["--json", "--scope", "user:bob", "list"]), before);
    assert_eq!(
        place.stdout(&["--scope", "user:bob", "kv", "get", "secret"]),
        format!("\"{SECRET}\"")
    );
    assert_eq!(place.stdout(&["--scope", "user:ada", "count"]), "1\n");
    assert_eq!(
        place.stdout(&["--json", "scope", "ls"]).lines().count(),
        2,
        "nothing was planted elsewhere"
    );
}

#[test]
fn what_is_too_large_or_makes_no_sense_is_refused_and_the_server_goes_on() {
    let place = Place::new();
    let mut client = Client::start(&place, &["--scope", "user:ada", "mcp"]);
    let long = "x".repeat((64 << 10) + 1);
    let refused = |answer: Result<Value, String>, part: &str| {
        let error = answer.unwrap_err();
        assert!(error.contains(part), "no `{part}` in {error}");
    };
    refused(
        client.tool("remember", json!({"text": long})),
        "at most 65536 are allowed",
    );
    refused(client.tool("remember", json!({"text": " \n"})), "blank");
    refused(
        client.tool("remember", json!({"text": "a", "metadata": {"x": long}})),
        "allowed",
    );
    refused(
        client.tool("remember", json!({"text": "a", "metadata": "x"})),
        "bad arguments",
    );
    refused(
        client.tool("remember", json!({"text": "a", "ttl": "soon"})),
        "bad arguments",
    );
    refused(client.tool("remember", json!({})), "missing field `text`");
    refused(
        client.tool("remember", json!({"text": "a", "id": "i".repeat(2_000)})),
        "1024",
    );
    refused(client.tool("recall", json!({"query": "q".repeat(100_000)})), "at most");
    refused(client.tool("recall", json!({"query": ""})), "blank");
    refused(
        client.tool("recall", json!({"query": "a", "limit": 51})),
        "within 1..=50",
    );
    refused(
        client.tool("recall", json!({"query": "a", "limit": 0})),
        "within 1..=50",
    );
    refused(client.tool("list", json!({"limit": 101})), "within 1..=100");
    refused(client.tool("list", json!({"cursor": "nonsense"})), "pass on");
    refused(client.tool("forget", json!({"ids": []})), "no id");
    refused(
        client.tool("forget", json!({"ids": vec!["a"; 101]})),
        "at most 100 are allowed",
    );
    refused(
        client.tool("set_value", json!({"key": "k", "value": "v".repeat(256 << 10)})),
        "at most 262144 are allowed",
    );
    refused(client.tool("set_value", json!({"key": "", "value": 1})), "empty");
    refused(client.tool("set_value", json!({"key": "k"})), "missing field `value`");
    refused(client.tool("destroy", json!({})), "there is no tool");
    refused(
        client.request("resources/read", json!({"uri": "memory:///user:ada/a"})),
        "no such entry",
    );
    client.raw("this is no JSON");
    client.raw("{\"jsonrpc\":\"2.0\"}");
    client.raw(&format!("[{}]", "[".repeat(200)));
    // Longer than a line may be.
    client.raw(&format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":999,\"method\":\"tools/list\",\"x\":\"{}\"}}",
        "x".repeat(3 << 20)
    ));
    assert_eq!(client.tool("stats", json!({})).unwrap()["scopes"][0]["entries"], 0);

    // Many large entries: an answer has a limit, and says what it left out.
    for n in 0..24 {
        client
            .tool(
                "remember",
                json!({"text": format!("large {}", "y".repeat(60 << 10)), "id": n.to_string()}),
            )
            .unwrap();
    }
    let listed = client.tool("list", json!({"limit": 100})).unwrap();
    let shown = listed["entries"].as_array().unwrap().len() as u64;
    assert_eq!(shown + listed["left_out"].as_u64().unwrap(), 24);
    assert!((10..24).contains(&shown), "{shown}");
    client.end();
}

#[test]
fn several_servers_share_a_directory_and_one_takes_over_when_another_ends() {
    let place = Place::new();
    let mut first = Client::start(&place, &["--scope", "user:ada", "mcp"]);
    let mut second = Client::start(&place, &["--scope", "user:ada", "mcp"]);
    assert!(place.path("db/admin.sock").exists());

    // Both write at the same time, through the one that has it open.
    std::thread::scope(|scope| {
        for (name, client) in [("first", &mut first), ("second", &mut second)] {
            scope.spawn(move || {
                for n in 0..30 {
                    client
                        .tool(
                            "remember",
                            json!({"text": format!("{name} says {n}"), "id": format!("{name}-{n}")}),
                        )
                        .unwrap();
                    client
                        .tool("set_value", json!({"key": format!("{name}-{n}"), "value": n}))
                        .unwrap();
                }
            });
        }
    });
    for client in [&mut first, &mut second] {
        assert_eq!(client.tool("stats", json!({})).unwrap()["scopes"][0]["entries"], 60);
        assert_eq!(
            client.tool("recall", json!({"query": "second", "limit": 50})).unwrap()["results"]
                .as_array()
                .unwrap()
                .len(),
            30
        );
        assert_eq!(
            client.tool("get_value", json!({"key": "first-29"})).unwrap()["value"],
            29
        );
    }
    // The command line looks at it meanwhile, and writes.
    assert_eq!(place.stdout(&["--scope", "user:ada", "count"]), "60\n");
    place.stdout(&["--scope", "user:ada", "delete", "first-0"]);

    // The first ends as its client does: the second opens the directory, and serves a third.
    first.end();
    assert_eq!(second.tool("stats", json!({})).unwrap()["scopes"][0]["entries"], 59);
    let mut third = Client::start(&place, &["--scope", "user:ada", "mcp"]);
    third
        .tool("remember", json!({"text": "the third", "id": "third"}))
        .unwrap();
    assert_eq!(second.tool("get", json!({"id": "third"})).unwrap()["text"], "the third");
    // The second is killed: the third goes on.
    second.kill();
    let begun = Instant::now();
    assert_eq!(third.tool("get", json!({"id": "third"})).unwrap()["text"], "the third");
    assert!(begun.elapsed() < Duration::from_secs(10));
    third.tool("forget", json!({"ids": ["third"]})).unwrap();
    third.end();
    assert!(!place.path("db/admin.sock").exists());
    place.stdout(&["check", "--deep"]);
}

#[test]
fn a_server_beside_one_that_only_reads_cannot_write_and_says_why() {
    let place = Place::new();
    let mut writer = Client::start(&place, &["--scope", "user:ada", "mcp"]);
    writer
        .tool("remember", json!({"text": "there", "id": "there"}))
        .unwrap();
    writer.end();
    let mut reader = Client::start(&place, &["--scope", "user:ada", "mcp", "--read-only"]);
    let mut writer = Client::start(&place, &["--scope", "user:ada", "mcp"]);
    assert_eq!(writer.tool("get", json!({"id": "there"})).unwrap()["text"], "there");
    let refused = writer.tool("remember", json!({"text": "new"})).unwrap_err();
    assert!(refused.contains("--read-only"), "{refused}");
    reader.tool("stats", json!({})).unwrap();
    reader.end();
    writer.tool("remember", json!({"text": "new"})).unwrap();
    writer.end();
}

#[test]
fn a_signal_ends_a_server_and_closes_the_database() {
    let place = Place::new();
    let mut client = Client::start(&place, &["--scope", "user:ada", "mcp"]);
    client.tool("remember", json!({"text": "kept", "id": "kept"})).unwrap();
    client.signal("-TERM");
    assert!(!place.path("db/admin.sock").exists());
    assert_eq!(place.stdout(&["--scope", "user:ada", "count"]), "1\n");
}

/// Needs a Python with the package `mcp`: the one that `LLMSPELL_MCP_PYTHON` names, as `.ci/run` does, or `python3`.
#[test]
fn the_official_python_client_is_served() {
    let named = std::env::var_os("LLMSPELL_MCP_PYTHON");
    let python = named.clone().unwrap_or_else(|| "python3".into());
    let has_package = Command::new(&python)
        .args(["-c", "from mcp import Client"])
        .output()
        .is_ok_and(|out| out.status.success());
    if !has_package {
        assert!(
            named.is_none(),
            "LLMSPELL_MCP_PYTHON names a Python without the package `mcp`"
        );
        eprintln!("there is no python3 with the package `mcp`: the official client is not tested");
        return;
    }
    let place = Place::new();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/mcp/official_client.py");
    let out = Command::new(python)
        .args([script, env!("CARGO_BIN_EXE_llmspell-storage")])
        .arg(place.path("db"))
        .output()
        .unwrap();
    let (stdout, stderr) = (
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr),
    );
    assert!(out.status.success(), "{stdout}\n{stderr}");
    assert_eq!(stdout.lines().count(), 2, "{stdout}");
}
