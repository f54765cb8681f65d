//! Lines on their way out: bounded buffers that workers append to, and one thread that writes them.
//!
//! A worker takes its own buffer's lock, copies the line and goes on; the writer takes each lock only to
//! swap a full buffer for an empty one. It is woken when the first line after a pause comes, waits a moment
//! for others, and is hurried when much has gathered. However slow the reader, no worker ever waits for it.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use super::Format;
use super::event;
use crate::metrics::thread_slot;

/// Bytes that one buffer holds at most; lines beyond are dropped and counted.
pub(super) const BUFFER_BYTES: usize = 256 * 1024;

/// Bytes in one buffer from which the writer does not wait any longer.
const HURRY_BYTES: usize = 64 * 1024;

/// How long a line may wait for company.
const GATHER: Duration = Duration::from_millis(50);

/// How long the writer rests when a nonblocking standard error takes no more.
const BLOCKED_PAUSE: Duration = Duration::from_millis(5);

const BUFFERS: usize = 8;

/// What the workers want of the writer; more is never overwritten by less.
const IDLE: u8 = 0;
const GATHERING: u8 = 1;
const HURRIED: u8 = 2;

/// The way in. The writer ends, having written what is left, when this is dropped.
pub(super) struct Sink(Arc<Shared>);

impl Sink {
    /// Starts the writer thread.
    pub(super) fn start(format: Format, out: impl Write + Send + 'static) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let writer = Writer { shared: shared.clone(), out: Output { out, torn: false }, format };
        let handle = thread::Builder::new().name("log".to_owned()).spawn(|| writer.run())?;
        shared.writer.get_or_init(|| handle.thread().clone());
        Ok(Self(shared))
    }

    /// Takes a whole line, or drops it whole. `urgent`: without waiting for more.
    pub(super) fn append(&self, line: &str, urgent: bool) {
        let mut buffer = lock(&self.0.buffers[thread_slot() % BUFFERS].0);
        if buffer.bytes.len() + line.len() > BUFFER_BYTES {
            buffer.dropped += 1;
            return;
        }
        buffer.bytes.extend_from_slice(line.as_bytes());
        let hurry = urgent || buffer.bytes.len() >= HURRY_BYTES;
        // Released before the state is looked at: whoever finds it idle wakes a writer that can see the line.
        drop(buffer);
        self.0.want(if hurry { HURRIED } else { GATHERING });
    }

    /// Waits until all lines appended so far are written, or until `patience` is over.
    pub(super) fn flush(&self, patience: Duration) -> bool {
        let mut flushes = lock(&self.0.flushes);
        flushes.asked += 1;
        let mine = flushes.asked;
        drop(flushes);
        self.0.want(HURRIED);
        let (flushes, _) = self
            .0
            .flushed
            .wait_timeout_while(lock(&self.0.flushes), patience, |flushes| flushes.done < mine)
            .unwrap_or_else(PoisonError::into_inner);
        flushes.done >= mine
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.0.closed.store(true, Ordering::Release);
        self.0.want(HURRIED);
    }
}

#[derive(Default)]
struct Shared {
    buffers: [Padded; BUFFERS],
    state: AtomicU8,
    closed: AtomicBool,
    writer: OnceLock<Thread>,
    flushes: Mutex<Flushes>,
    flushed: Condvar,
}

impl Shared {
    fn want(&self, state: u8) {
        // The load keeps the cache line shared while the writer already knows.
        if self.state.load(Ordering::Acquire) < state
            && self.state.fetch_max(state, Ordering::AcqRel) < state
            && let Some(writer) = self.writer.get()
        {
            writer.unpark();
        }
    }
}

/// A buffer on cache lines of its own.
#[derive(Default)]
#[repr(align(128))]
struct Padded(Mutex<Buffer>);

#[derive(Default)]
struct Buffer {
    bytes: Vec<u8>,
    dropped: u64,
}

#[derive(Default)]
struct Flushes {
    asked: u64,
    done: u64,
}

struct Writer<W> {
    shared: Arc<Shared>,
    out: Output<W>,
    format: Format,
}

impl<W: Write> Writer<W> {
    fn run(mut self) {
        let mut batch = Vec::new();
        let mut lost = 0;
        loop {
            self.gather();
            let closed = self.shared.closed.load(Ordering::Acquire);
            let asked = lock(&self.shared.flushes).asked;
            // Before the buffers are looked at: a line that comes later asks again.
            self.shared.state.swap(IDLE, Ordering::AcqRel);
            for buffer in &self.shared.buffers {
                let mut buffer = lock(&buffer.0);
                std::mem::swap(&mut buffer.bytes, &mut batch);
                lost += std::mem::take(&mut buffer.dropped);
                drop(buffer);
                lost += self.out.write(&batch);
                batch.clear();
            }
            if lost > 0 {
                // Not one of the counted lines itself: where it cannot be written, it is tried again.
                let line = event::dropped_line(self.format, lost);
                if self.out.write(line.as_bytes()) == 0 {
                    lost = 0;
                }
            }
            lock(&self.shared.flushes).done = asked;
            self.shared.flushed.notify_all();
            if closed {
                return;
            }
        }
    }

    /// Returns when there is something to write and no reason to wait for more.
    fn gather(&self) {
        let state = || self.shared.state.load(Ordering::Acquire);
        while state() == IDLE {
            thread::park();
        }
        let end = Instant::now() + GATHER;
        while state() < HURRIED {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            thread::park_timeout(left);
        }
    }
}

struct Output<W> {
    out: W,
    /// The last write failed within a line.
    torn: bool,
}

impl<W: Write> Output<W> {
    /// Writes whole lines and returns how many of them were lost.
    fn write(&mut self, lines: &[u8]) -> u64 {
        if lines.is_empty() {
            return 0;
        }
        if self.torn && self.write_some(b"\n") == 1 {
            self.torn = false;
        }
        let written = self.write_some(lines);
        let (done, rest) = lines.split_at(written);
        self.torn |= done.last().is_some_and(|byte| *byte != b'\n');
        rest.iter().filter(|byte| **byte == b'\n').count() as u64
    }

    fn write_some(&mut self, bytes: &[u8]) -> usize {
        let mut written = 0;
        while written < bytes.len() {
            match self.out.write(&bytes[written..]) {
                Ok(0) => break,
                Ok(n) => written += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    thread::sleep(BLOCKED_PAUSE);
                }
                Err(_) => break,
            }
        }
        written
    }
}

/// No code that can panic runs under these locks, so a poisoned one still holds whole lines.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
