//! Starts the service: `cargo run --release -p llmspell-example-chat-service -- memory.db 127.0.0.1:3000`
//!
//! ```text
//! curl -X PUT localhost:3000/documents/faq -H 'content-type: application/json' \
//!   -d '{"title": "Questions", "text": "A password is reset by mail."}'
//! curl -X POST localhost:3000/users/ada/sessions/s-1/messages -H 'content-type: application/json' \
//!   -d '{"role": "user", "text": "I like short answers."}'
//! curl -X POST localhost:3000/users/ada/sessions/s-1/context -H 'content-type: application/json' \
//!   -d '{"question": "How do I reset my password?", "k": 3}'
//! ```

use anyhow::Context;
use llmspell_example_chat_service::App;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let directory = args
        .next()
        .context("name the directory of the memory, and an address")?;
    let address = args.next().unwrap_or_else(|| "127.0.0.1:3000".to_string());
    let app = App::open(&directory).await?;
    let listener = TcpListener::bind(&address)
        .await
        .with_context(|| format!("cannot listen at {address}"))?;
    println!("listening at http://{}", listener.local_addr()?);
    let stop = async {
        // Without a signal to wait for, the service would stop at once.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    app.serve(listener, stop).await
}
