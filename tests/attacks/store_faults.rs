//! A disk that is full, a directory that cannot be written, writers that are killed.
