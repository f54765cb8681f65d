//! Runs the HTTP library's own tasks on the worker's thread.

use hyper::rt::Executor;

/// Spawns on the current thread; needs no `Send`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LocalExecutor;

impl<F> Executor<F> for LocalExecutor
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
