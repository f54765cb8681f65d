//! The commands on Secrets: the real program, through a kubeconfig or as a pod's service account.

mod check;
mod keys;
mod token;
mod usage;
mod users;
