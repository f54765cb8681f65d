//! Which part of Vestibule answers a path.

use crate::metrics::Dialect;

/// Where the login endpoints are; each may have several paths, or none.
#[derive(Debug, Clone)]
pub(crate) struct LoginPaths(Vec<(String, Dialect)>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    /// A login endpoint: never the application's, whatever the method.
    Login(Dialect),
    /// The public halves of the signing keys, where there are any.
    PublicKeys,
    Application,
}

/// Where a JWK Set is looked for (RFC 8615).
const PUBLIC_KEYS: &str = "/.well-known/jwks.json";

impl LoginPaths {
    pub(crate) fn new(paths: impl IntoIterator<Item = (String, Dialect)>) -> Self {
        Self(paths.into_iter().collect())
    }

    /// `path`: without the query, as it came. Paths match byte for byte.
    pub(super) fn route(&self, path: &str) -> Route {
        match self.0.iter().find(|(known, _)| known == path) {
            Some((_, dialect)) => Route::Login(*dialect),
            None if path == PUBLIC_KEYS => Route::PublicKeys,
            None => Route::Application,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_match_byte_for_byte() {
        let paths = LoginPaths::new([
            ("/authorize".to_owned(), Dialect::Densify),
            ("/api/v2/authorize".to_owned(), Dialect::Densify),
            ("/v1/users/refresh_jwt".to_owned(), Dialect::Refresh),
        ]);
        for (path, route) in [
            ("/authorize", Route::Login(Dialect::Densify)),
            ("/api/v2/authorize", Route::Login(Dialect::Densify)),
            ("/v1/users/refresh_jwt", Route::Login(Dialect::Refresh)),
            ("/.well-known/jwks.json", Route::PublicKeys),
            ("/authorize/", Route::Application),
            ("/Authorize", Route::Application),
            ("//authorize", Route::Application),
            ("/", Route::Application),
        ] {
            assert_eq!(paths.route(path), route, "{path}");
        }
    }
}
