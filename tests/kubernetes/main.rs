//! Vestibule on a real API server: kube-apiserver and etcd, which tests/kubernetes/build builds. RBAC is on, and what is
//! tested has the rights of deploy/rbac.yaml alone.

mod audit;
#[allow(dead_code, unused_imports, reason = "what the tests of a store ask for, which are written one after the other")]
mod cluster;
mod commands;
mod connections;
mod damage;
mod faults;
mod front;
mod idle;
mod injection;
mod keys;
mod managed;
mod outage;
mod pod;
mod refusals;
mod release;
mod reload;
mod rights;
mod rotation;
mod shell;
mod sidecar;
mod skew;
#[path = "../support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "shared with tests/it, which uses the rest")]
mod support;
mod trouble;
mod users;
