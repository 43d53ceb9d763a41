//! What the tests share: the server, and schemas that go away.

use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering};

use llmspell_postgres::{PostgresConfig, PostgresDatabase};

/// The server of the tests, or a message and none: `cargo test` must pass on a machine that has only Rust.
pub(crate) fn server(test: &str) -> Option<String> {
    let url = std::env::var("DATABASE_URL").ok().filter(|url| !url.is_empty());
    if url.is_none() {
        eprintln!("LEFT OUT: {test} needs a PostgreSQL server; run `cargo xtask postgres`, or set DATABASE_URL");
    }
    url
}

/// Runs a test with the server, if there is one, in a runtime of several threads.
pub(crate) fn with_server<F: Future<Output = ()>>(test: &str, body: impl FnOnce(String) -> F + Send) {
    let Some(url) = server(test) else { return };
    std::thread::scope(|threads| {
        // The future of a whole suite is larger than the stack of a thread of tests, if the compiler does not make it small.
        let builder = std::thread::Builder::new().stack_size(64 << 20);
        let run = || {
            let runtime = runtime();
            runtime.block_on(body(url));
            // Connections end in the background.
            runtime.shutdown_timeout(std::time::Duration::from_secs(5));
        };
        let done = builder.spawn_scoped(threads, run).unwrap().join();
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

/// A schema that no other test uses.
pub(crate) fn new_schema() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("test_{}_{count}", std::process::id())
}

/// A database in a new schema; drop the schema with [`drop_schema`].
pub(crate) async fn open(url: &str) -> (PostgresDatabase, String) {
    let schema = new_schema();
    let config = PostgresConfig::new(url).with_schema(&schema).with_pool_size(8);
    (PostgresDatabase::open(config).await.unwrap(), schema)
}

/// A connection of its own for raw SQL.
pub(crate) async fn connect(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

pub(crate) async fn drop_schema(url: &str, schema: &str) {
    let client = connect(url).await;
    client
        .batch_execute(&format!("DROP SCHEMA \"{schema}\" CASCADE"))
        .await
        .unwrap();
}

/// The URL of the server for another role.
pub(crate) fn as_role(url: &str, role: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap();
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    format!("{scheme}://{role}@{host}")
}

/// A role that may log in and nothing else. Drop it with [`drop_role`].
pub(crate) async fn new_role(url: &str, name: &str) -> String {
    let role = format!("{name}_{}", new_schema());
    let client = connect(url).await;
    client
        .batch_execute(&format!("CREATE ROLE \"{role}\" LOGIN NOSUPERUSER NOBYPASSRLS"))
        .await
        .unwrap();
    role
}

pub(crate) async fn drop_role(url: &str, role: &str) {
    let client = connect(url).await;
    client
        .batch_execute(&format!("DROP OWNED BY \"{role}\"; DROP ROLE \"{role}\""))
        .await
        .unwrap();
}
