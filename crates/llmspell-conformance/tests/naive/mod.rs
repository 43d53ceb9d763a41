//! Naive stores that keep every promise in the simplest way, or break a chosen one.

#![expect(clippy::unwrap_used, reason = "a poisoned lock is a failed test")]

mod examples;
pub(crate) mod faults;
pub(crate) mod key_value;
mod orders;
mod selection;
pub(crate) mod vectors;
pub(crate) mod word_faults;
mod words;
