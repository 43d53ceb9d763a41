//! Every limit of the server, with its unit. Beyond them are those of the store ([`llmspell_storage::limits`]).

/// Longest text that is remembered, in bytes of UTF-8.
pub const TEXT_BYTES_MAX: usize = 64 << 10;

/// Largest value of a key, as compact JSON, in bytes.
pub const VALUE_BYTES_MAX: usize = 256 << 10;

/// Most results of one recall.
pub const RECALL_MAX: usize = 50;

/// Results of a recall that does not say how many.
pub const RECALL_DEFAULT: usize = 5;

/// Most entries of one page of a list, and of the list of resources.
pub const LIST_MAX: usize = 100;

/// Entries of a list that does not say how many.
pub const LIST_DEFAULT: usize = 20;

/// Most ids that one call forgets.
pub const FORGET_MAX: usize = 100;

/// Longest time that a call waits for the command that makes vectors, in seconds: a model may have to be loaded first.
pub const EMBED_SECONDS_MAX: u64 = 180;

/// Longest line of the protocol, in bytes: a longer one is dropped.
pub const LINE_BYTES_MAX: usize = 2 << 20;

/// Most bytes of the results of one answer, as JSON. What does not fit is left out, and the answer says so.
pub const ANSWER_BYTES_MAX: usize = 1 << 20;
