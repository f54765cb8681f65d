//! Bounds and deadlines, and clients that try what lies beyond them.

mod attacks;
mod bodies;
mod defaults;
mod places;
mod silence;
mod stalled;
mod times;

use crate::support::*;

const OPEN: &str = "access: {rules: [{prefix: /open, allow: anyone}]}";
