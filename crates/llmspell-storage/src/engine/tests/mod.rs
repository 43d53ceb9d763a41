//! What happens when the disk fails, or the power, or when the clock goes back? And are derived files only ever what they
//! should be?

mod disk_failure;
mod driven;
mod expiring_keys;
mod expiry;
mod handover;
mod index_files;
mod large;
mod metadata_build;
mod metadata_file;
mod power_loss;
mod power_loss_router;
mod purge;
mod quotas;
mod survey;
mod tuning;
mod undone;
mod workload;
