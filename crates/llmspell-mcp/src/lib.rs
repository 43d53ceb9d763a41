//! A server of the Model Context Protocol (MCP) that gives an agent a memory: texts it finds by words and by meaning, and
//! values by keys.
//!
//! It speaks over stdin and stdout, sees nothing but the scopes that it was started with, and shares a directory with other
//! servers and commands: the first one has it open, the others ask that one over its admin socket.
//!
//! | file           | question                                                              |
//! |----------------|-----------------------------------------------------------------------|
//! | `limits.rs`    | how large may things be?                                              |
//! | `config.rs`    | what is a server told when it starts?                                 |
//! | `refusal.rs`   | how is an agent told what went wrong, and what to do?                 |
//! | `shared.rs`    | which process has the directory open, and what if that process ends?  |
//! | `arguments.rs` | what does each tool take?                                             |
//! | `memory.rs`    | what does each tool do, within its scopes?                            |
//! | `tools.rs`     | which tools does a client see, with which hints?                      |
//! | `resources.rs` | how are entries named as resources?                                   |
//! | `server.rs`    | how are the calls of the protocol answered?                           |

#![forbid(unsafe_code)]

mod arguments;
mod config;
pub mod limits;
mod memory;
mod refusal;
mod resources;
mod server;
mod shared;
mod tools;

pub use config::{Config, Embed};
pub use server::serve;
