//! Processes that do not agree: about the policy, as in the middle of a rollout, or about the time.
