//! A TCP proxy that cuts a connection after some messages of the client, or at the answer to one.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Where a connection is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Before the message reaches the server.
    Before,
    /// After it has reached the server, before the answer reaches the client.
    After,
}

pub(crate) struct Proxy {
    address: std::net::SocketAddr,
    state: Arc<State>,
}

struct State {
    /// Messages that still pass; negative for no limit.
    left: AtomicI64,
    is_after: std::sync::atomic::AtomicBool,
    passed: AtomicU64,
}

impl Proxy {
    pub(crate) async fn start(url: &str) -> Self {
        let server = url.rsplit_once('@').unwrap().1.split('/').next().unwrap().to_string();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            left: AtomicI64::new(-1),
            is_after: false.into(),
            passed: AtomicU64::new(0),
        });
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (server, shared) = (server.clone(), Arc::clone(&shared));
                tokio::spawn(async move { drop(pass(client, &server, &shared).await) });
            }
        });
        Self { address, state }
    }

    /// The URL of the server, by way of this proxy.
    pub(crate) fn url(&self, url: &str) -> String {
        let (before, after) = url.rsplit_once('@').unwrap();
        let database = after.split_once('/').unwrap().1;
        format!("{before}@{}/{database}", self.address)
    }

    /// Cuts the connection that sends the message after `messages` more. Then all pass again.
    pub(crate) fn cut_after(&self, messages: i64, cut: Cut) {
        self.state.is_after.store(cut == Cut::After, Ordering::SeqCst);
        self.state.left.store(messages, Ordering::SeqCst);
    }

    pub(crate) fn let_pass(&self) {
        self.state.left.store(-1, Ordering::SeqCst);
    }

    /// Whether the cut has not happened.
    pub(crate) fn is_waiting(&self) -> bool {
        self.state.left.load(Ordering::SeqCst) >= 0
    }

    pub(crate) fn passed(&self) -> u64 {
        self.state.passed.load(Ordering::SeqCst)
    }
}

/// Passes one connection on, message by message of the client.
async fn pass(client: TcpStream, server: &str, state: &State) -> std::io::Result<()> {
    let server = TcpStream::connect(server).await?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let answers = async {
        let mut bytes = vec![0; 64 << 10];
        loop {
            let count = from_server.read(&mut bytes).await?;
            if count == 0 {
                return std::io::Result::Ok(());
            }
            to_client.write_all(&bytes[..count]).await?;
        }
    };
    let messages = async {
        // The first message has no type.
        let mut is_first = true;
        loop {
            let mut message = Vec::new();
            if !is_first {
                message.push(from_client.read_u8().await?);
            }
            is_first = false;
            let length = from_client.read_u32().await?;
            message.extend(length.to_be_bytes());
            let begin = message.len();
            message.resize(begin + length as usize - 4, 0);
            from_client.read_exact(&mut message[begin..]).await?;
            let left = state.left.load(Ordering::SeqCst);
            if left == 0 {
                state.left.store(-1, Ordering::SeqCst);
                if state.is_after.load(Ordering::SeqCst) {
                    to_server.write_all(&message).await?;
                }
                return std::io::Result::Ok(());
            }
            if left > 0 {
                state.left.fetch_sub(1, Ordering::SeqCst);
            }
            state.passed.fetch_add(1, Ordering::SeqCst);
            to_server.write_all(&message).await?;
        }
    };
    // Both directions end with the first that ends.
    tokio::select! {
        ended = messages => ended,
        ended = answers => ended,
    }
}
