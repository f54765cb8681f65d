//! A copy of a bodiless request's head, in case that it has to be sent again.

use http::{HeaderName, HeaderValue, Method, Request, Uri};

/// Cheaper to make than a copy of the header map, and nearly always thrown away.
pub(super) struct Spare {
    method: Method,
    uri: Uri,
    /// Names and values by turns, each with LF behind it, which neither can hold (RFC 9110, section 5.5).
    fields: Vec<u8>,
}

impl Spare {
    pub(super) fn of<B>(request: &Request<B>) -> Self {
        let lengths = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 2);
        let mut fields = Vec::with_capacity(lengths.sum());
        for (name, value) in request.headers() {
            for part in [name.as_str().as_bytes(), value.as_bytes()] {
                fields.extend_from_slice(part);
                fields.push(b'\n');
            }
        }
        Self { method: request.method().clone(), uri: request.uri().clone(), fields }
    }

    /// The same request as HTTP/1.1; `None` only where a field would not be one, which none is that was read as one.
    pub(super) fn into_request<B>(self, body: B) -> Option<Request<B>> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        let mut parts = self.fields.split(|byte| *byte == b'\n');
        while let (Some(name), Some(value)) = (parts.next(), parts.next()) {
            let name = HeaderName::from_bytes(name).ok()?;
            request.headers_mut().append(name, HeaderValue::from_bytes(value).ok()?);
        }
        Some(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_request_is_the_first_one() {
        let builder =
            Request::builder().method("DELETE").uri("/a?b=c").header("host", "a.example").header("x-empty", "");
        let builder =
            builder.header("x-twice", "one").header("x-bytes", &b"\xc3\xa9\t\xff"[..]).header("x-twice", "two");
        let first = builder.body(()).expect("a request");
        let second = Spare::of(&first).into_request(()).expect("a request");
        assert_eq!((first.method(), first.uri(), first.version()), (second.method(), second.uri(), second.version()));
        assert_eq!(first.headers(), second.headers());
    }
}
