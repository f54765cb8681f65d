//! `Expect: 100-continue` end to end: the body waits until the application asks for it (RFC 9110, section 10.1.1).

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, StatusCode};
use tokio::sync::watch;

/// An application that knows nothing of the expectation gets the body after this wait, as curl and others do it.
const PATIENCE: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Waiting,
    Send,
    Never,
}

/// Holds a request's body back.
pub(crate) struct Held {
    asked: Pin<Box<dyn Future<Output = bool>>>,
}

/// Lets the body go, or ends it; dropped without a word, it lets it go.
#[derive(Debug, Clone)]
pub(crate) struct Release(Arc<watch::Sender<Word>>);

/// Holds the body back until the application says `100 Continue`.
pub(crate) fn hold<B>(request: &mut Request<B>) -> (Held, Release) {
    let (sender, mut receiver) = watch::channel(Word::Waiting);
    let release = Release(Arc::new(sender));
    let on_interim = release.clone();
    hyper::ext::on_informational(request, move |interim| {
        if interim.status() == StatusCode::CONTINUE {
            on_interim.say(Word::Send);
        }
    });
    let asked = Box::pin(async move {
        match tokio::time::timeout(PATIENCE, receiver.wait_for(|word| *word != Word::Waiting)).await {
            Ok(Ok(word)) => *word == Word::Send,
            Ok(Err(_)) | Err(_) => true,
        }
    });
    (Held { asked }, release)
}

impl Release {
    /// The final answer has ended and the body was never asked for: it is not to be sent any more.
    pub(crate) fn cancel(&self) {
        self.say(Word::Never);
    }

    fn say(&self, word: Word) {
        self.0.send_if_modified(|now| {
            let first = *now == Word::Waiting;
            if first {
                *now = word;
            }
            first
        });
    }
}

impl Held {
    /// `true`: send the body; `false`: it is not wanted.
    pub(crate) fn poll_asked(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        self.asked.as_mut().poll(cx)
    }
}
