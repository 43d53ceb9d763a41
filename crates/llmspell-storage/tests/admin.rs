//! The admin socket: what clients are answered, and what they cannot do to each other or to the database.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use llmspell_storage::{
    ADMIN_REQUEST_BYTES_MAX, ADMIN_SOCKET, AdminClient, AdminOptions, BackupOptions, Database, DatabaseOptions,
    EmbeddingModel, ErrorKind, Expiry, FieldPath, Filter, HNSWConfig, ListOrder, ListQuery, OnExisting,
    SOCKET_PATH_BYTES_MAX, SampleQuery, StateScope, StorageError, TextConfig, VectorEntry, VectorQuery, VectorStorage,
};
use serde_json::{Value, json};
use tempfile::TempDir;

fn ada() -> StateScope {
    StateScope::User("ada".to_string())
}

/// A database that is served, with three notes of Ada that have vectors, words and metadata.
struct Served {
    database: Database,
    dir: TempDir,
}

impl Served {
    async fn with(options: AdminOptions) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let database = Database::open(dir.path().join("db")).await.unwrap();
        let config = HNSWConfig::balanced().with_texts(TextConfig::default().with_keep(true));
        let notes = database.vectors("notes", 2, config).await.unwrap();
        let entry = |id: &str, vector: [f32; 2], text: &str, n: i32| {
            VectorEntry::new(id, vector)
                .with_scope(ada())
                .with_text(text)
                .with_metadata(json!({"n": n, "kind": "note"}))
        };
        let entries = vec![
            entry("east", [1.0, 0.0], "the sun rises in the east", 1),
            entry("north", [0.0, 1.0], "the compass points north", 2),
            entry("northeast", [1.0, 1.0], "between north and east", 3),
        ];
        notes.insert(entries).await.unwrap();
        database.kv().set("theme", b"dark".to_vec()).await.unwrap();
        database.kv().set("raw", vec![0xff, 0, 7]).await.unwrap();
        let served = Self { database, dir };
        served
            .database
            .serve_admin_with(served.socket(), options)
            .await
            .unwrap();
        served
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("db")
    }

    fn socket(&self) -> PathBuf {
        self.path().join(ADMIN_SOCKET)
    }

    async fn client(&self) -> AdminClient {
        AdminClient::connect(self.path()).await.unwrap().expect("it is served")
    }

    /// A connection on which the server has said hello.
    fn greeted(&self) -> UnixStream {
        let stream = UnixStream::connect(self.socket()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let hello = next_frame(&stream).expect("a hello");
        assert_eq!(hello["hello"]["protocol"], 1);
        stream
    }

    async fn still_answers(&self) {
        let store = self.client().await.existing_vectors("notes").await.unwrap().unwrap();
        assert_eq!(store.count(&ada()).await.unwrap(), 3);
    }
}

fn next_frame(mut stream: &UnixStream) -> Option<Value> {
    let mut len = [0; 4];
    stream.read_exact(&mut len).ok()?;
    let mut content = vec![0; u32::from_le_bytes(len) as usize];
    stream.read_exact(&mut content).ok()?;
    Some(serde_json::from_slice(&content).unwrap())
}

fn send_frame(mut stream: &UnixStream, content: &[u8]) {
    let len = u32::try_from(content.len()).unwrap();
    stream.write_all(&len.to_le_bytes()).unwrap();
    stream.write_all(content).unwrap();
}

#[tokio::test]
async fn reads_over_the_socket_are_answered_as_by_the_database_itself() {
    let served = Served::with(AdminOptions::new()).await;
    let (database, client) = (&served.database, served.client().await);
    let here = database.existing_vectors("notes").await.unwrap().unwrap();
    let there = client.existing_vectors("notes").await.unwrap().unwrap();
    let (here, there): (&dyn VectorStorage, &dyn VectorStorage) = (&here, &there);

    let queries = [
        VectorQuery::new([0.9, 0.2], 2).with_scope(ada()).with_vectors(true),
        VectorQuery::text("north -compass", 5)
            .with_scope(ada())
            .with_snippets(40),
        VectorQuery::new([0.1, 0.7], 3)
            .with_scope(ada())
            .with_text("east")
            .with_texts(true),
        VectorQuery::new([1.0, 0.0], 3)
            .with_scopes([ada(), StateScope::Global])
            .with_filter(Filter::gt("n", 1)),
    ];
    for query in &queries {
        assert_eq!(there.search(query).await.unwrap(), here.search(query).await.unwrap());
    }
    let plan = there.explain(&queries[0]).await.unwrap();
    assert_eq!((plan.live, plan.results), (3, 2));
    let ids = ["north".to_string(), "nobody".to_string()];
    assert_eq!(
        there.get(&ada(), "east").await.unwrap(),
        here.get(&ada(), "east").await.unwrap()
    );
    assert_eq!(there.get(&ada(), "nobody").await.unwrap(), None);
    assert_eq!(
        there.get_many(&ada(), &ids).await.unwrap(),
        here.get_many(&ada(), &ids).await.unwrap()
    );
    assert_eq!(
        there.list(&ada(), Some("east"), 10).await.unwrap(),
        here.list(&ada(), Some("east"), 10).await.unwrap()
    );
    let odd = Filter::is_in("n", [1, 3]);
    let matching = there.list_matching(&ada(), &odd, None, 10).await.unwrap();
    assert_eq!(matching, here.list_matching(&ada(), &odd, None, 10).await.unwrap());
    assert_eq!(matching.len(), 2);
    let second = there.list_matching(&ada(), &odd, Some("east"), 1).await.unwrap();
    assert_eq!(second.iter().map(|entry| &*entry.id).collect::<Vec<_>>(), ["northeast"]);
    let newest = ListQuery::new(ada()).with_order(ListOrder::NewestFirst).with_limit(2);
    let page = there.list_page(&newest).await.unwrap();
    assert_eq!(page, here.list_page(&newest).await.unwrap());
    assert!(page.next.is_some());
    let sample = SampleQuery::new(ada(), 2, 7);
    assert_eq!(
        there.sample(&sample).await.unwrap(),
        here.sample(&sample).await.unwrap()
    );
    assert_eq!(there.count_matching(&ada(), &odd).await.unwrap(), 2);
    let (field, all) = (FieldPath::from("kind"), Filter::all());
    assert_eq!(
        there.facet(&ada(), &field, &all, 5).await.unwrap(),
        here.facet(&ada(), &field, &all, 5).await.unwrap()
    );
    assert_eq!(there.scopes().await.unwrap(), [ada()]);
    assert_eq!(there.stats().await.unwrap(), here.stats().await.unwrap());
    assert_eq!(
        there.stats_for_scope(&ada()).await.unwrap(),
        here.stats_for_scope(&ada()).await.unwrap()
    );

    let (keys, own) = (client.kv(), database.kv());
    for key in ["theme", "raw", "nothing"] {
        assert_eq!(keys.get(key).await.unwrap(), own.get(key).await.unwrap());
        assert_eq!(keys.expires_at(key).await.unwrap(), None);
    }
    let names = ["raw".to_string(), "nothing".to_string()];
    assert_eq!(
        keys.get_batch(&names).await.unwrap(),
        own.get_batch(&names).await.unwrap()
    );
    assert_eq!(
        keys.scan_entries("", None, 10).await.unwrap(),
        own.scan_entries("", None, 10).await.unwrap()
    );
    assert_eq!(keys.characteristics(), own.characteristics());
    assert_eq!(client.spaces().await.unwrap(), database.spaces().await.unwrap());
    assert_eq!(client.stats().await.unwrap().keys, 2);
    assert_eq!(client.process(), std::process::id());
    assert!(client.check_deep().await.unwrap().is_ok());
    assert!(client.check().await.unwrap().is_ok());
}

#[tokio::test]
async fn without_permission_no_write_is_done_and_with_it_all_are() {
    // Given: a server for reading.
    let served = Served::with(AdminOptions::new()).await;
    let client = served.client().await;
    let notes = client.existing_vectors("notes").await.unwrap().unwrap();
    let (keys, id) = (client.kv(), ["east".to_string()]);
    assert!(!client.allows_writes());
    let before = notes.get(&ada(), "east").await.unwrap();

    // When: each kind of write is tried, also by a client that does not ask whether it may.
    let refused = |done: StorageError| assert!(matches!(done, StorageError::WritesRefused { .. }), "{done}");
    let entry = || vec![VectorEntry::new("new", [1.0, 2.0]).with_scope(ada())];
    refused(notes.write(entry(), OnExisting::Refuse).await.unwrap_err());
    refused(notes.write_known(entry(), OnExisting::Refuse).await.unwrap_err());
    refused(notes.delete(&ada(), &id).await.unwrap_err());
    refused(notes.delete_matching(&ada(), &Filter::all()).await.unwrap_err());
    refused(notes.delete_scope(&ada()).await.unwrap_err());
    refused(
        notes
            .touch(&ada(), &id, Expiry::After(Duration::from_secs(60)))
            .await
            .unwrap_err(),
    );
    refused(notes.update_metadata(&ada(), "east", json!({})).await.unwrap_err());
    refused(notes.patch_metadata(&ada(), "east", json!({"n": 9})).await.unwrap_err());
    refused(notes.build_index().await.unwrap_err());
    refused(keys.set("theme", b"light".to_vec()).await.unwrap_err());
    refused(keys.compare_and_swap("theme", None, Some(vec![1])).await.unwrap_err());
    refused(client.vectors("other", 3, HNSWConfig::balanced()).await.unwrap_err());
    refused(client.register_model(EmbeddingModel::new("m", 4)).await.unwrap_err());
    let stream = served.greeted();
    let call = json!({"protocol": 1, "call": {"keys": {"write": {"batch": [{"delete": {"key": "theme"}}]}}}});
    send_frame(&stream, call.to_string().as_bytes());
    assert_eq!(next_frame(&stream).unwrap()["error"]["kind"], "invalid");

    // Then: nothing has changed.
    assert_eq!(notes.get(&ada(), "east").await.unwrap(), before);
    assert_eq!(keys.get("theme").await.unwrap().unwrap(), b"dark");
    assert_eq!(client.spaces().await.unwrap().len(), 1);

    // When: the same is asked of a server for writing.
    assert!(served.database.stop_admin().await);
    assert!(!served.socket().exists());
    assert!(!served.database.stop_admin().await);
    let options = AdminOptions::new().allow_writes();
    served
        .database
        .serve_admin_with(served.socket(), options)
        .await
        .unwrap();
    let client = served.client().await;
    assert!(client.allows_writes());
    let notes = client.existing_vectors("notes").await.unwrap().unwrap();
    let keys = client.kv();
    assert_eq!(notes.insert(entry()).await.unwrap(), ["new"]);
    assert!(matches!(notes.insert(entry()).await.unwrap_err(), StorageError::IdExists { id } if id == "new"));
    notes.update_metadata(&ada(), "new", json!({"a": 1})).await.unwrap();
    notes.patch_metadata(&ada(), "new", json!({"b": 2})).await.unwrap();
    let hour = Expiry::After(Duration::from_secs(3600));
    assert_eq!(notes.touch(&ada(), ["new", "gone"], hour).await.unwrap(), ["gone"]);
    assert_eq!(notes.delete(&ada(), ["east"]).await.unwrap(), 1);
    assert_eq!(notes.delete_matching(&ada(), &Filter::gt("n", 2)).await.unwrap(), 1);
    notes.flush().await.unwrap();
    notes.build_index().await.unwrap();
    keys.set_with_ttl("token", vec![0, 159], Duration::from_secs(3600))
        .await
        .unwrap();
    assert!(
        keys.compare_and_swap("theme", Some(b"dark"), Some(b"light".to_vec()))
            .await
            .unwrap()
    );
    assert!(keys.delete("raw").await.unwrap());
    let other = client.vectors("other", 3, HNSWConfig::balanced()).await.unwrap();
    other
        .upsert(vec![VectorEntry::new("o", [1.0, 0.0, 0.0])])
        .await
        .unwrap();
    client.register_model(EmbeddingModel::new("m", 4)).await.unwrap();
    let routed = VectorEntry::new("r", [0.5; 4]).with_model("m");
    client.router().insert(vec![routed]).await.unwrap();

    // Then: the owner of the database sees it.
    let store = served.database.existing_vectors("notes").await.unwrap().unwrap();
    let new = store.get(&ada(), "new").await.unwrap().unwrap();
    assert_eq!(new.metadata, json!({"a": 1, "b": 2}));
    assert!(new.expires_at.is_some());
    let list = store.list(&ada(), None, 10).await.unwrap();
    assert_eq!(
        list.iter().map(|entry| &*entry.id).collect::<Vec<_>>(),
        ["new", "north"]
    );
    let keys = served.database.kv();
    assert_eq!(keys.get("theme").await.unwrap().unwrap(), b"light");
    assert_eq!(keys.get("token").await.unwrap().unwrap(), [0, 159]);
    assert!(keys.expires_at("token").await.unwrap().is_some());
    assert_eq!(keys.get("raw").await.unwrap(), None);
    assert_eq!(served.database.spaces().await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_backup_over_the_socket_is_a_backup_and_reports_its_progress() {
    let served = Served::with(AdminOptions::new()).await;
    let client = served.client().await;
    let (sender, seen) = std::sync::mpsc::channel();
    let options = BackupOptions::new()
        .bytes_per_second_max(400)
        .on_progress(move |at| sender.send(at.done_bytes).unwrap_or_default());
    let target = served.dir.path().join("backup");
    let receipt = client.backup_with(&target, options).await.unwrap();
    assert!(receipt.rows > 3, "{receipt:?}");
    assert!(seen.try_iter().count() > 0, "it took longer than a second");
    assert!(!target.join(ADMIN_SOCKET).exists());
    let restored = served.dir.path().join("restored");
    Database::restore(&target, &restored, BackupOptions::new())
        .await
        .unwrap();
    assert!(!restored.join(ADMIN_SOCKET).exists());
    let inside = client
        .backup_with(served.path().join("inside"), BackupOptions::new())
        .await;
    assert_eq!(inside.unwrap_err().kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn only_the_owner_may_connect_and_nothing_is_left_when_the_database_closes() {
    let served = Served::with(AdminOptions::new()).await;
    let metadata = std::fs::symlink_metadata(served.socket()).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    let twice = served.database.serve_admin(served.dir.path().join("other.sock")).await;
    assert!(matches!(twice.unwrap_err(), StorageError::AlreadyOpen { .. }));
    assert!(!served.dir.path().join("other.sock").exists());
    let (socket, path) = (served.socket(), served.path());
    let (client, waiting) = (served.client().await, served.greeted());

    // By closing it, while a client is connected that says nothing.
    let begun = Instant::now();
    served.database.close().await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5), "the silent client held it up");
    assert!(!socket.exists());
    assert!(next_frame(&waiting).is_none_or(|last| last["error"]["kind"] == "closed"));
    let lost = client.spaces().await.unwrap_err();
    assert!(matches!(lost, StorageError::ConnectionLost { .. }), "{lost}");
    assert!(AdminClient::connect(&path).await.unwrap().is_none());

    // By dropping its last handle.
    let database = Database::open(&path).await.unwrap();
    database.serve_admin(&socket).await.unwrap();
    drop(database);
    assert!(!socket.exists());
    Database::open(&path).await.unwrap();
}

#[tokio::test]
async fn a_socket_elsewhere_is_found_by_its_link() {
    let served = Served::with(AdminOptions::new()).await;
    assert!(served.database.stop_admin().await);
    let elsewhere = served.dir.path().join("run.sock");
    served.database.serve_admin(&elsewhere).await.unwrap();
    assert_eq!(std::fs::read_link(served.socket()).unwrap(), elsewhere);
    served.still_answers().await;
    assert!(
        served.client().await.check_deep().await.unwrap().is_ok(),
        "the link is no strange file"
    );
    assert!(served.database.stop_admin().await);
    assert!(!elsewhere.exists() && std::fs::symlink_metadata(served.socket()).is_err());

    // The link of another database leads to no answers of the wrong one.
    let other = served.dir.path().join("other");
    drop(Database::open(&other).await.unwrap());
    served.database.serve_admin(&elsewhere).await.unwrap();
    std::os::unix::fs::symlink(&elsewhere, other.join(ADMIN_SOCKET)).unwrap();
    let foreign = AdminClient::connect(&other).await.unwrap_err();
    assert!(matches!(foreign, StorageError::ForeignDirectory { .. }), "{foreign}");
}

#[tokio::test]
async fn what_is_in_the_way_of_a_socket_is_replaced_only_if_nobody_uses_it() {
    let served = Served::with(AdminOptions::new()).await;
    let other = Database::open(served.dir.path().join("other")).await.unwrap();
    let taken = other.serve_admin(served.socket()).await.unwrap_err();
    assert!(
        matches!(&taken, StorageError::AlreadyOpen { path, .. } if *path == served.socket()),
        "{taken}"
    );
    served.still_answers().await;

    let file = served.dir.path().join("file");
    std::fs::write(&file, "mine").unwrap();
    assert!(matches!(
        other.serve_admin(&file).await.unwrap_err(),
        StorageError::InvalidName { .. }
    ));
    assert_eq!(std::fs::read(&file).unwrap(), b"mine");

    let stale = served.dir.path().join("stale");
    drop(UnixListener::bind(&stale).unwrap());
    other.serve_admin(&stale).await.unwrap();
    assert!(
        AdminClient::connect(served.dir.path().join("other"))
            .await
            .unwrap()
            .is_some()
    );
    assert!(other.stop_admin().await);

    let long = served.dir.path().join("x".repeat(SOCKET_PATH_BYTES_MAX));
    match other.serve_admin(&long).await.unwrap_err() {
        StorageError::LimitExceeded { limit, got, .. } => {
            assert_eq!(
                (limit, got),
                (SOCKET_PATH_BYTES_MAX as u64, long.as_os_str().len() as u64)
            );
        }
        error => panic!("{error}"),
    }
    let fits = SOCKET_PATH_BYTES_MAX - served.dir.path().as_os_str().len() - 1;
    other
        .serve_admin(served.dir.path().join("x".repeat(fits)))
        .await
        .unwrap();
}

#[tokio::test]
async fn bytes_that_are_no_request_are_refused_and_harm_nobody() {
    let served = Served::with(AdminOptions::new().allow_writes()).await;
    let request = |call: Value| json!({"protocol": 1, "call": call}).to_string();
    let deep = format!("{}1{}", "[".repeat(50_000), "]".repeat(50_000));
    let bad: Vec<(Vec<u8>, &str)> = vec![
        (b"".to_vec(), "invalid"),
        (b"\xff\xfe not JSON".to_vec(), "invalid"),
        (deep.into_bytes(), "invalid"),
        (b"{\"protocol\": 2, \"call\": \"spaces\"}".to_vec(), "data"),
        (b"{\"protocol\": 1}".to_vec(), "invalid"),
        (request(json!("destroy")).into_bytes(), "invalid"),
        (
            request(json!({"backup": {"dir": "relative", "with_indexes": false, "keep_going": false}})).into_bytes(),
            "invalid",
        ),
        (
            request(json!({"check": {"deep": true, "more": 1}})).into_bytes(),
            "invalid",
        ),
        (
            request(json!({"vectors": {"store": {"space": "nope"}, "call": "stats"}})).into_bytes(),
            "not_found",
        ),
        (
            request(json!({"vectors": {"store": {"space": "notes"}, "call": {"get": {"scope": "user:", "id": "a"}}}}))
                .into_bytes(),
            "invalid",
        ),
        (
            request(
                json!({"vectors": {"store": {"space": "notes"}, "call": {"delete_scopes_of_kind": {"kind": "all"}}}}),
            )
            .into_bytes(),
            "invalid",
        ),
        (request(json!({"keys": {"get": {"key": ""}}})).into_bytes(), "invalid"),
    ];
    for (bytes, kind) in bad {
        let stream = served.greeted();
        send_frame(&stream, &bytes);
        let answer = next_frame(&stream).unwrap();
        assert_eq!(
            answer["error"]["kind"],
            kind,
            "{}: {answer}",
            String::from_utf8_lossy(&bytes[..bytes.len().min(90)])
        );
        assert!(next_frame(&stream).is_none(), "the connection ends");
    }
    // A frame that is too long, by its length alone; one that ends early; a client that goes at once.
    let stream = served.greeted();
    (&stream).write_all(&u32::MAX.to_le_bytes()).unwrap();
    let answer = next_frame(&stream).unwrap();
    assert!(
        answer["error"]["message"]
            .as_str()
            .unwrap()
            .contains(&ADMIN_REQUEST_BYTES_MAX.to_string()),
        "{answer}"
    );
    let stream = served.greeted();
    (&stream).write_all(&[200, 0, 0, 0, b'{']).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert!(next_frame(&stream).is_none());
    drop(UnixStream::connect(served.socket()).unwrap());
    // Noise of all kinds, seeded.
    let mut noise = 7_u64;
    for _ in 0..200 {
        let stream = UnixStream::connect(served.socket()).unwrap();
        let bytes: Vec<u8> = (0..noise % 64)
            .map(|_| {
                noise = noise
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                (noise >> 56) as u8
            })
            .collect();
        noise = noise.wrapping_add(0x9e37_79b9_7f4a_7c15);
        // A server that has refused the beginning reads no more.
        let _ = (&stream).write_all(&bytes);
    }
    served.still_answers().await;
    assert!(served.database.check().await.unwrap().is_ok());
}

#[tokio::test]
async fn a_request_beyond_the_limit_is_refused_before_it_is_sent() {
    let served = Served::with(AdminOptions::new().allow_writes()).await;
    let keys = served.client().await.kv();
    let error = keys
        .set("large", vec![b'x'; ADMIN_REQUEST_BYTES_MAX])
        .await
        .unwrap_err();
    assert!(
        matches!(error, StorageError::LimitExceeded { limit, .. } if limit == ADMIN_REQUEST_BYTES_MAX as u64),
        "{error}"
    );
    // A value that fits comes back as it is.
    let value: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
    keys.set("large", value.clone()).await.unwrap();
    assert_eq!(keys.get("large").await.unwrap().unwrap(), value);
}

#[tokio::test]
async fn clients_that_say_nothing_or_take_nothing_lose_their_places_to_others() {
    // Given: places for two, and both taken by clients that send their request one byte a time, or not at all.
    let options = AdminOptions::new()
        .connections_max(2)
        .frame_time(Duration::from_millis(700));
    let served = Served::with(options).await;
    let (silent, slow) = (served.greeted(), served.greeted());
    let trickle = std::thread::spawn(move || {
        let mut sent = 0;
        // Never whole: a frame of a thousand bytes.
        for byte in [232, 3, 0, 0].into_iter().chain(std::iter::repeat_n(b' ', 900)) {
            if (&slow).write_all(&[byte]).is_err() {
                return sent;
            }
            sent += 1;
            std::thread::sleep(Duration::from_millis(20));
        }
        sent
    });
    // When: another one asks.
    let begun = Instant::now();
    served.still_answers().await;
    // Then: it had to wait for their time, and for no more.
    assert!(
        begun.elapsed() > Duration::from_millis(300),
        "a third one got a place: {:?}",
        begun.elapsed()
    );
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    assert!(trickle.join().unwrap() < 300, "the slow one was cut off");
    let last = next_frame(&silent);
    assert!(
        last.is_none_or(|last| last["error"]["kind"] == "busy"),
        "it was told why"
    );

    // One that does not take its large answer is cut off, too.
    served.database.kv().set("large", vec![b'x'; 8 << 20]).await.unwrap();
    let deaf: Vec<_> = (0..2).map(|_| served.greeted()).collect();
    for stream in &deaf {
        send_frame(stream, br#"{"protocol":1,"call":{"keys":{"get":{"key":"large"}}}}"#);
    }
    let begun = Instant::now();
    served.still_answers().await;
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    drop(deaf);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_clients_at_once_are_all_answered() {
    let served = Served::with(AdminOptions::new().allow_writes().connections_max(8)).await;
    let client = served.client().await;
    let calls: Vec<_> = (0..100)
        .map(|number| {
            let client = client.clone();
            tokio::spawn(async move {
                client
                    .kv()
                    .set(&format!("key-{number:03}"), number.to_string().into_bytes())
                    .await?;
                let notes = client.existing_vectors("notes").await?.expect("it is there");
                notes.count(&ada()).await
            })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap(), 3);
    }
    assert_eq!(served.database.kv().count("key-").await.unwrap(), 100);
}

/// What a client is told by a process that is no good server: it speaks as the function does, and ends the connection.
async fn told_by(speak: impl Fn(&UnixStream) + Send + 'static) -> StorageError {
    let dir = tempfile::tempdir().unwrap();
    drop(Database::open(dir.path().join("db")).await.unwrap());
    let path = dir.path().join("db");
    let listener = UnixListener::bind(path.join(ADMIN_SOCKET)).unwrap();
    let hello = json!({"hello": {
        "protocol": 1, "version": "x", "process": 1, "database": path.canonicalize().unwrap(), "writes": true,
    }});
    let server = std::thread::spawn(move || {
        for count in 0..2 {
            let (stream, _) = listener.accept().unwrap();
            send_frame(&stream, hello.to_string().as_bytes());
            if count == 1 {
                speak(&stream);
            }
        }
    });
    let client = AdminClient::connect(&path).await.unwrap().unwrap();
    let error = client.spaces().await.unwrap_err();
    server.join().unwrap();
    error
}

#[tokio::test]
async fn a_server_that_dies_or_lies_in_the_middle_of_an_answer_is_an_error() {
    let lost = |error: StorageError| assert!(matches!(error, StorageError::ConnectionLost { .. }), "{error:?}");
    lost(told_by(|_| {}).await);
    lost(told_by(|mut stream| stream.write_all(&[100, 0, 0, 0, b'{', b'"']).unwrap()).await);
    lost(told_by(|stream| send_frame(stream, b"not JSON")).await);
    lost(told_by(|stream| send_frame(stream, br#"{"answer": [{"name": 7}]}"#)).await);
    lost(told_by(|mut stream| stream.write_all(&u32::MAX.to_le_bytes()).unwrap()).await);
    let elsewhere = told_by(|stream| {
        send_frame(stream, br#"{"working": {"done_bytes": 1, "total_bytes": 2}}"#);
        send_frame(
            stream,
            br#"{"error": {"kind": "conflict", "message": "no", "causes": ["of this"]}}"#,
        );
    });
    let error = elsewhere.await;
    assert_eq!(
        (error.kind(), error.to_string()),
        (ErrorKind::Conflict, "no: of this".to_string())
    );
}

#[tokio::test]
async fn a_server_of_another_protocol_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path: &Path = dir.path();
    let listener = UnixListener::bind(path.join(ADMIN_SOCKET)).unwrap();
    let server = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let hello = json!({"hello": {"protocol": 2, "version": "9", "process": 1, "database": null, "writes": true}});
        send_frame(&stream, hello.to_string().as_bytes());
    });
    let error = AdminClient::connect(path).await.unwrap_err();
    assert!(
        matches!(error, StorageError::UnsupportedVersion { found: 2, .. }),
        "{error}"
    );
    server.join().unwrap();
}

#[tokio::test]
async fn a_stale_socket_is_in_the_way_of_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let database = Database::open(&path).await.unwrap();
    database.kv().set("a", b"1".to_vec()).await.unwrap();
    database.close().await.unwrap();
    drop(UnixListener::bind(path.join(ADMIN_SOCKET)).unwrap());

    assert!(AdminClient::connect(&path).await.unwrap().is_none());
    let database = DatabaseOptions::new().must_exist(true).open(&path).await.unwrap();
    assert!(database.check_deep().await.unwrap().is_ok());
    database.close().await.unwrap();
    Database::compact(&path, |_| {}).await.unwrap();
    assert!(!path.join(ADMIN_SOCKET).exists());
    let names: Vec<_> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|name| name.unwrap().file_name())
        .collect();
    assert_eq!(names, ["db"], "compaction has removed what it replaced");
    let database = Database::open(&path).await.unwrap();
    assert_eq!(database.kv().get("a").await.unwrap().unwrap(), b"1");
}

#[tokio::test]
async fn a_database_in_memory_can_be_served_though_no_directory_leads_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let database = Database::in_memory();
    let socket = dir.path().join(ADMIN_SOCKET);
    database.serve_admin(&socket).await.unwrap();
    let error = AdminClient::connect(dir.path()).await.unwrap_err();
    assert!(matches!(error, StorageError::ForeignDirectory { .. }), "{error}");
    database.close().await.unwrap();
    assert!(!socket.exists());
}
