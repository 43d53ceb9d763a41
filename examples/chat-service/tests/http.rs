//! Does the service remember over HTTP, keep users apart, forget in time, and know everything after a restart?

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use llmspell_example_chat_service::App;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A service on a port of its own.
struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<anyhow::Result<()>>,
}

impl Running {
    async fn start(directory: &Path) -> Self {
        Self::with(App::open(directory).await.unwrap()).await
    }

    async fn with(app: App) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(app.serve(listener, async {
            let _ = stopped.await;
        }));
        Self { address, stop, serving }
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.serving.await.unwrap().unwrap();
    }

    /// The status and the body, null if there is none.
    async fn ask(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        // What axum itself refuses, it refuses in words.
        let body =
            serde_json::from_str(body).unwrap_or_else(|_| if body.is_empty() { Value::Null } else { json!(body) });
        (status, body)
    }

    async fn get(&self, path: &str) -> Value {
        let (status, body) = self.ask("GET", path, Value::Null).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    async fn say(&self, chat: &str, role: &str, text: &str) {
        let message = json!({"role": role, "text": text});
        let (status, body) = self.ask("POST", &format!("{chat}/messages"), message).await;
        assert!(status == 201 && body["id"].is_string(), "{status} {body}");
    }

    async fn context(&self, chat: &str, question: Value) -> Vec<Value> {
        let (status, body) = self.ask("POST", &format!("{chat}/context"), question).await;
        assert_eq!(status, 200, "{body}");
        body.as_array().unwrap().clone()
    }
}

fn texts(found: &[Value]) -> Vec<&str> {
    found.iter().map(|hit| hit["text"].as_str().unwrap()).collect()
}

const ADA: &str = "/users/ada/sessions/s-1";

/// Shared documents, one of Ada, and what she and Bob said.
async fn furnish(service: &Running) {
    let put = async |path: &str, title: &str, lang: &str, text: &str| {
        let document = json!({"title": title, "lang": lang, "text": text});
        let (status, body) = service.ask("PUT", path, document).await;
        assert_eq!(status, 200, "{body}");
        body["passages"].as_u64().unwrap()
    };
    let faq = "A password is reset by mail: ask for a link.\n\nThe canteen has soup on Mondays.";
    assert_eq!(put("/documents/faq", "Questions", "en", faq).await, 2);
    // Nearly the same once more: of both, one is enough.
    let copy = "A password is reset by mail: ask for a link!";
    put("/documents/copy", "Copied questions", "en", copy).await;
    put(
        "/documents/fragen",
        "Fragen",
        "de",
        "Das password wird mit einem Link in einer Mail reset.",
    )
    .await;
    put(
        "/users/ada/documents/notes",
        "Notes",
        "en",
        "My old password was written on a yellow paper.",
    )
    .await;
    service
        .say(ADA, "user", "I lost my password and the yellow paper.")
        .await;
    service.say(ADA, "assistant", "Then it has to be reset.").await;
    service
        .say("/users/bob/sessions/s-1", "user", "My password is a secret of Bob.")
        .await;
}

#[tokio::test]
async fn a_question_is_answered_from_the_chat_the_users_documents_and_the_shared_ones() {
    let dir = tempfile::tempdir().unwrap();
    let service = Running::start(&dir.path().join("memory.db")).await;
    furnish(&service).await;

    let question = json!({"question": "How is my old password reset by mail?", "k": 5});
    let found = service.context(ADA, question).await;
    let scopes: Vec<_> = found.iter().map(|hit| hit["scope"].as_str().unwrap()).collect();
    assert_eq!(
        found[0]["text"].as_str().unwrap().trim_end_matches(['.', '!']),
        "A password is reset by mail: ask for a link"
    );
    assert_eq!((found.len(), found[0]["kind"].as_str()), (5, Some("chunk")));
    for scope in ["session:ada/s-1", "user:ada", "global"] {
        assert!(scopes.contains(&scope), "{scope} in {found:?}");
    }
    // The same twice is no context: of the two near-duplicates at most one is among the first four.
    let links = texts(&found[..4])
        .iter()
        .filter(|text| text.contains("ask for a link"))
        .count();
    assert_eq!(links, 1, "{found:?}");
    assert!(!texts(&found).iter().any(|text| text.contains("Bob")));

    // Filters, as text and as JSON.
    for filter in [json!("lang = 'de'"), json!({"eq": {"field": "lang", "value": "de"}})] {
        let question = json!({"question": "password reset", "filter": filter});
        assert_eq!(texts(&service.context(ADA, question).await).len(), 1);
    }
    let only_chat = json!({"question": "password", "filter": "kind = 'message'"});
    let bobs = service.context("/users/bob/sessions/s-1", only_chat.clone()).await;
    assert_eq!(texts(&bobs), ["My password is a secret of Bob."]);
    assert_eq!(service.context(ADA, only_chat).await.len(), 2);

    let (status, body) = service
        .ask(
            "POST",
            &format!("{ADA}/context"),
            json!({"question": "x", "filter": "lang >"}),
        )
        .await;
    assert!(
        status == 400 && body["error"].as_str().unwrap().contains("expected a value"),
        "{status} {body}"
    );
    // A user whose name leads into the sessions of another one.
    let (status, body) = service
        .ask("GET", "/users/ada%2Fs-1/sessions/x/messages", Value::Null)
        .await;
    assert!(
        status == 400 && body["error"].as_str().unwrap().contains("is no name"),
        "{status} {body}"
    );
    let (status, _) = service.ask("DELETE", "/documents/nothing", Value::Null).await;
    assert_eq!(status, 404);
    service.stop().await;
}

#[tokio::test]
async fn after_a_restart_everything_is_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let directory = dir.path().join("memory.db");
    let service = Running::start(&directory).await;
    furnish(&service).await;
    let settings = json!({"lang": "en", "tone": "short"});
    let (status, _) = service.ask("PUT", "/users/ada/settings", settings.clone()).await;
    assert_eq!(status, 204);
    let question = json!({"question": "yellow paper with the password"});
    let before = service.context(ADA, question.clone()).await;
    service.stop().await;

    let service = Running::start(&directory).await;
    assert_eq!(service.context(ADA, question).await, before);
    let lines = service.get(&format!("{ADA}/messages")).await;
    assert_eq!(
        lines
            .as_array()
            .unwrap()
            .iter()
            .map(|line| &line["role"])
            .collect::<Vec<_>>(),
        ["user", "assistant"]
    );
    assert_eq!(lines[0]["text"], "I lost my password and the yellow paper.");
    let last = service.get(&format!("{ADA}/messages?last=1")).await;
    assert_eq!(last, json!([lines[1]]), "the newest one alone");
    assert_eq!(
        service.get(&format!("{ADA}/messages?last=2")).await,
        lines,
        "the oldest first"
    );
    assert_eq!(service.get("/users/ada/settings").await, settings);
    let documents = service.get("/documents").await;
    assert_eq!(documents[0], json!({"value": "faq", "count": 2}));
    assert_eq!(documents.as_array().unwrap().len(), 3);

    // A shorter version leaves nothing of the longer one; what is removed is gone.
    let shorter = json!({"title": "Questions", "text": "Ask the canteen."});
    assert_eq!(
        service.ask("PUT", "/documents/faq", shorter).await,
        (200, json!({"passages": 1}))
    );
    let soup = service
        .context(ADA, json!({"question": "soup on Mondays", "k": 10}))
        .await;
    assert!(!texts(&soup).iter().any(|text| text.contains("soup")), "{soup:?}");
    let (status, _) = service.ask("DELETE", ADA, Value::Null).await;
    assert_eq!(
        (status, service.get(&format!("{ADA}/messages")).await),
        (204, json!([]))
    );
    service.say(ADA, "user", "Hello again.").await;
    let (status, _) = service.ask("DELETE", "/users/ada", Value::Null).await;
    assert_eq!(status, 204);
    for path in [&format!("{ADA}/messages"), "/users/ada/documents"] {
        assert_eq!(service.get(path).await, json!([]), "{path}");
    }
    assert_eq!(
        service.get("/users/ada/settings").await,
        json!({"lang": null, "tone": null})
    );
    let bobs = service.get("/users/bob/sessions/s-1/messages").await;
    assert_eq!(bobs.as_array().unwrap().len(), 1, "what is Bob's stays");
    service.stop().await;
}

#[tokio::test]
async fn a_session_lives_while_somebody_speaks_and_is_forgotten_later() {
    let dir = tempfile::tempdir().unwrap();
    let lifetime = Duration::from_millis(1500);
    let app = App::open(dir.path().join("memory.db")).await.unwrap();
    let service = Running::with(app.with_session_lifetime(lifetime)).await;
    let messages = format!("{ADA}/messages");
    service.say(ADA, "user", "First.").await;
    tokio::time::sleep(lifetime * 2 / 3).await;
    service.say(ADA, "user", "Second.").await;
    tokio::time::sleep(lifetime * 2 / 3).await;
    // The first one is older than its lifetime, and the session lives.
    assert_eq!(service.get(&messages).await.as_array().unwrap().len(), 2);
    tokio::time::sleep(lifetime / 2).await;
    assert_eq!(service.get(&messages).await, json!([]));
    service.stop().await;
}
