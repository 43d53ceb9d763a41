//! Key-value backends.
