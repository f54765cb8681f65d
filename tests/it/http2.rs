//! TLS and HTTP/2: what is agreed on, who may come in, and what a broken peer can do.

mod clients;
mod corpus;
mod messages;
mod negotiation;
mod sessions;

use crate::support::*;

const OPEN: &str = "access: {rules: [{prefix: /open, allow: anyone}]}";
