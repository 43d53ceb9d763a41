//! What happens when the disk fails, or the power? And are derived files only ever what they should be?

mod disk_failure;
mod metadata_build;
mod metadata_file;
mod power_loss;
mod workload;
