//! What happens when the disk fails, or the power?

mod disk_failure;
mod power_loss;
mod purge;
mod workload;
