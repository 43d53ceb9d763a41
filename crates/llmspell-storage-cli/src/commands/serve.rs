//! `serve`: holds a database open, and lets other processes look at it.

use std::path::PathBuf;

use clap::Args;

use crate::session::Session;
use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::output::Output;

/// How `serve` is called.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Let other processes write, too: `import`, `delete`, `touch`, `kv set` and the like
    #[arg(long)]
    writes: bool,

    /// Path of the socket [default: admin.sock in the directory of the database]; there is a link to it in the directory
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

#[cfg(unix)]
pub(crate) async fn run(args: ServeArgs, session: &Session<'_>, output: &mut Output) -> Result<(), CliError> {
    use llmspell_storage::{ADMIN_SOCKET, AdminOptions};
    use serde_json::json;

    // Before the socket is there: a signal that comes at once must remove it, too.
    let stop = stopped()?;
    let database = session.open_here("serve").await?;
    let directory = database.path().unwrap_or_default();
    let socket = args.socket.unwrap_or_else(|| directory.join(ADMIN_SOCKET));
    let options = match args.writes {
        true => AdminOptions::new().allow_writes(),
        false => AdminOptions::new(),
    };
    database.serve_admin_with(&socket, options).await?;
    output.object(&json!({
        "phase": "serve", "database": directory, "socket": socket, "writes": args.writes, "process": std::process::id(),
    }))?;
    output.text(format!(
        "serving {} at {}, {}; end it with Ctrl-C",
        directory.display(),
        socket.display(),
        if args.writes {
            "reading and writing"
        } else {
            "for reading"
        },
    ))?;
    output.flush()?;
    stop.await;
    database.close().await?;
    Ok(())
}

#[cfg(not(unix))]
pub(crate) async fn run(args: ServeArgs, _: &Session<'_>, _: &mut Output) -> Result<(), CliError> {
    drop((args.writes, args.socket));
    Err(CliError::usage(
        "`serve` needs Unix sockets, which this system does not have",
        "open the database in one program only",
    ))
}

/// Waits for Ctrl-C, or for the signal that asks a program to end.
#[cfg(unix)]
pub(super) fn stopped() -> Result<impl Future<Output = ()>, CliError> {
    use tokio::signal::unix::{SignalKind, signal};
    let on = |kind| signal(kind).map_err(|source| CliError::system("cannot wait for signals", source));
    let (mut interrupt, mut terminate) = (on(SignalKind::interrupt())?, on(SignalKind::terminate())?);
    Ok(async move {
        std::future::poll_fn(|context| {
            let is_over = interrupt.poll_recv(context).is_ready() || terminate.poll_recv(context).is_ready();
            if is_over {
                std::task::Poll::Ready(())
            } else {
                std::task::Poll::Pending
            }
        })
        .await;
    })
}
