//! Tests of the engine: failing disks, loss of power, clocks that go back, and derived files that must always be right.

mod backup;
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
mod texts;
mod tuning;
mod undone;
mod workload;
