//! New versions while requests run: no connection is dropped, no request is judged on half a version, and what was
//! withdrawn is refused from the next request on.

mod certificate;
mod users;
mod withdrawn;
