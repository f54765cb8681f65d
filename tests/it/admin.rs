//! What the admin listener and the log tell.

mod audit;
mod endpoints;
mod logs;
mod metrics;

use crate::support::*;

const OPEN: &str = "access: {rules: [{prefix: /open, allow: anyone}]}";
