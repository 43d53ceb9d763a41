//! What happens when the disk fails, or the power, or when the clock goes back?

mod disk_failure;
mod expiry;
mod power_loss;
mod workload;
