//! Requests and answers on their way through: every kind of application, every kind of body.

mod grpc;
mod kinds;
mod streams;
mod targets;

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Incoming;
use tokio::sync::mpsc;

use crate::support::*;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// A body whose frames are what is sent on the channel.
fn channel_body(capacity: usize) -> (mpsc::Sender<Frame<Bytes>>, Body) {
    let (sender, receiver) = mpsc::channel::<Frame<Bytes>>(capacity);
    let frames = futures_util::stream::unfold(receiver, async |mut receiver| {
        receiver.recv().await.map(|frame| (Ok::<_, Infallible>(frame), receiver))
    });
    (sender, StreamBody::new(frames).boxed_unsync())
}

/// `chunks` times `size` bytes, made when they are asked for.
fn long_body(chunks: usize, size: usize) -> Body {
    let chunk = Bytes::from(vec![b'x'; size]);
    let frames = (0..chunks).map(move |_| Ok::<_, Infallible>(Frame::data(chunk.clone())));
    StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync()
}

/// Sends back each piece of a request's body as it comes, and its trailers.
async fn echo(request: Request<Incoming>) -> Response<Body> {
    let (sender, body) = channel_body(1);
    tokio::spawn(async move {
        let mut incoming = request.into_body();
        while let Some(Ok(frame)) = incoming.frame().await {
            if sender.send(frame).await.is_err() {
                return;
            }
        }
    });
    Response::new(body)
}

/// The next piece of data of a body, as it comes.
async fn next(body: &mut Incoming) -> Option<Bytes> {
    loop {
        let frame = within("the next piece", body.frame()).await?.expect("a body that goes on");
        if let Some(data) = frame.into_data().ok().filter(|data| !data.is_empty()) {
            return Some(data);
        }
    }
}
