//! The request threads: each has a runtime, connections and an upstream pool of its own.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;

use tokio::net::TcpListener;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::Semaphore;

use super::TlsChannel;
use crate::auth::token::Expected;
use crate::gate::Gate;
use crate::http::{Worker, WorkerParts};
use crate::proxy::{Forwarder, InFlight, Pool, Target};
use crate::server::{Accept, ConnectionLimits, Listener, Roster, accept};
use crate::shutdown::{Phase, Shutdown};

/// What all workers are made of.
pub(super) struct Workers {
    pub(super) parts: WorkerParts,
    pub(super) target: Target,
    pub(super) in_flight: InFlight,
    pub(super) body_limit: Option<u64>,
    pub(super) expected: Expected,
    pub(super) tls: TlsChannel,
    /// Of the whole process.
    pub(super) connections: usize,
    pub(super) limits: ConnectionLimits,
    pub(super) shutdown: Shutdown,
}

impl Workers {
    /// Starts `threads` workers on the one listening socket; they end with the process.
    pub(super) fn spawn(self, threads: usize, listener: &Listener) -> io::Result<()> {
        let permits = Arc::new(Semaphore::new(self.connections.min(Semaphore::MAX_PERMITS)));
        let this = Arc::new(self);
        for number in 0..threads {
            let listener = listener.share()?;
            let (this, permits) = (Arc::clone(&this), Arc::clone(&permits));
            thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
                let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
                match runtime {
                    Ok(runtime) => runtime.block_on(this.serve(listener, permits)),
                    Err(error) => this.parts.log_accept_failure(&error),
                }
            })?;
        }
        Ok(())
    }

    /// One worker, on the runtime of its thread; ends only where the listener is of no use.
    pub(super) async fn serve(&self, listener: std::net::TcpListener, permits: Arc<Semaphore>) {
        let guard = self.shutdown.guard();
        let pool = Pool::new(self.target.clone());
        let forwarder = Forwarder {
            pool: Rc::clone(&pool),
            in_flight: self.in_flight.clone(),
            body_limit: self.body_limit,
            body_idle: self.limits.idle_timeout,
        };
        let worker = Worker::new(self.parts.clone(), forwarder, Gate::new(self.expected.clone()));
        tokio::task::spawn_local(async move { pool.keep_tidy().await });
        let roster = Roster::new();
        let (looked_after, limits) = (Rc::clone(&roster), self.limits.clone());
        tokio::task::spawn_local(async move { looked_after.look_after(&limits).await });
        let listener = match TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => return self.parts.log_accept_failure(&error),
        };
        accept(Accept {
            listener,
            service: worker,
            metrics: Arc::clone(&self.parts.metrics),
            log: self.parts.log.clone(),
            tls: self.tls.clone(),
            permits,
            limits: self.limits.clone(),
            roster: Rc::clone(&roster),
            shutdown: self.shutdown.clone(),
            phase: self.shutdown.phase(),
        })
        .await;
        drop(guard);
        // What is still open goes on here, and says goodbye here, until the process ends.
        drop(self.shutdown.phase().wait_for(|phase| *phase >= Phase::Closing).await);
        roster.cut();
        std::future::pending::<()>().await;
    }
}
