//! Measuring speed and size on this machine.
//!
//! | file         | question                                              |
//! |--------------|-------------------------------------------------------|
//! | `latency.rs` | how long does a call take, at the median and at worst? |
//! | `memory.rs`  | how much RAM does this process hold?                  |
//! | `disk.rs`    | how much room do files take, how long does a sync last? |
//! | `machine.rs` | on what was it measured?                              |

pub mod disk;
pub mod latency;
pub mod machine;
pub mod memory;
