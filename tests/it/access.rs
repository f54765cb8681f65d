//! Who may call what: rules, open paths, ambiguous paths, and shadow mode.

mod paths;
mod rules;
mod shadow;

use serde_json::json;

use crate::support::*;

/// The default users and `saas`, who is in the other of the default API groups.
async fn start(app: &App, access: &str) -> Vestibule {
    let mut users = default_users();
    users["users"]["saas"] = json!({"groups": ["SaaS_User"], "passwords": [{"hash": argon2("saas-password")}]});
    Setup::new().upstream(app).users(&users).config(&format!("access: {access}")).start().await
}
