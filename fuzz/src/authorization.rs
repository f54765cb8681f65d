//! `Authorization`: a header is a token or Basic credentials or neither, never both, and each reads back as written.
//!
//! Input: a line for each header.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use vestibule::fuzzing::{Bearer, bearer, login};
use vestibule::metrics::Dialect;

pub(crate) fn run(data: &[u8]) {
    let values = data.split(|byte| *byte == b'\n').map(HeaderValue::from_bytes);
    let Ok(values) = values.collect::<Result<Vec<_>, _>>() else { return };
    let mut headers = HeaderMap::new();
    for value in values.iter().take(3) {
        headers.append(AUTHORIZATION, value.clone());
    }
    let token = bearer(&headers);
    let basic = login(Dialect::Redis, &headers, b"", 60);
    let [value] = &values[..] else {
        assert_eq!(token, Bearer::Several);
        assert!(basic.is_err());
        return;
    };

    let value = value.as_bytes();
    let scheme = value.split(|byte| *byte == b' ').next().unwrap_or_default().to_ascii_lowercase();
    let carries_token = scheme == b"bearer" || scheme == b"jwt";
    match token {
        Bearer::Token(token) => {
            assert!(carries_token && basic.is_err());
            assert_eq!(token.trim_ascii(), token);
            assert!(String::from_utf8_lossy(value).contains(token));
            for scheme in ["Bearer", "bEARER", "JWT", "jwt"] {
                let again = headers_of(format!("{scheme} {token}").as_bytes());
                assert_eq!(bearer(&again), Bearer::Token(token));
            }
        }
        Bearer::None => assert!(!carries_token),
        Bearer::Several => panic!("one header is several"),
    }
    let Ok(basic) = basic else { return };
    assert_eq!(scheme, b"basic");
    assert!(!basic.name.contains(&b':') && !basic.name.is_empty() && !basic.password.is_empty());
    assert!(basic.name.len() <= 256 && basic.ttl.is_none());
    let written = STANDARD.encode([&basic.name[..], b":", &basic.password].concat());
    let text = String::from_utf8_lossy(value);
    assert_eq!(text.split_once(' ').map(|(_, rest)| rest.trim()), Some(&*written), "one spelling of base64 alone");
}

fn headers_of(value: &[u8]) -> HeaderMap {
    let value = HeaderValue::from_bytes(value).expect("it stood in a header");
    [(AUTHORIZATION, value)].into_iter().collect()
}
