//! What the commands of llmspell-storage share.
//!
//! The binary `llmspell-storage` and the measuring programs of `llmspell-bench` are built on these modules. They may
//! change with any version: the commands are the interface, not this crate.
//!
//! | file or folder   | question                                                |
//! |------------------|---------------------------------------------------------|
//! | `errors.rs`      | what went wrong, what to try, which exit code?          |
//! | `output.rs`      | how are answers written, for people and for programs?   |
//! | `progress.rs`    | how does a long job show that it lives?                 |
//! | `random.rs`      | where does chance come from?                            |
//! | `scope_arg.rs`   | how is a scope written on a command line and in a file? |
//! | `time_arg.rs`    | how are moments and lengths of time written there?      |
//! | `memory_arg.rs`  | how is a memory tier written on a command line?         |
//! | `preset_arg.rs`  | how are the settings of the index written there?        |
//! | `text_args.rs`   | how is it written which words are indexed?              |
//! | `index_view.rs`  | how is the state of an index shown to people?           |
//! | `opened.rs`      | is the database opened here, or asked for where it is open? |
//! | `input/`         | how do vectors get in? JSON, CSV, `.npy`, `.fvecs`      |

#![forbid(unsafe_code)]
#![expect(
    clippy::missing_errors_doc,
    reason = "every error is a CliError or a sentence for people: it names what was tried, why it failed and what to try"
)]

pub mod errors;
pub mod index_view;
pub mod input;
pub mod memory_arg;
pub mod opened;
pub mod output;
pub mod preset_arg;
pub mod progress;
pub mod random;
pub mod scope_arg;
pub mod text_args;
pub mod time_arg;
