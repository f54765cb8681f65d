//! A disk that is full, a directory that cannot be written, writers that are killed.

mod full_disk;
mod killed;
mod mounts;
mod read_only;
