//! Key-value backends.

mod redb;

pub use self::redb::RedbBackend;
