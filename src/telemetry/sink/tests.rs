//! Blocked, slow and failing readers, and many writers at a time.

use super::*;

/// Keeps what is written, in small pieces, once the gate is open.
#[derive(Clone, Default)]
struct Gated(Arc<Gate>);

#[derive(Default)]
struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
    kept: Mutex<Vec<u8>>,
}

impl Gated {
    fn open(&self) {
        *lock(&self.0.open) = true;
        self.0.opened.notify_all();
    }

    fn text(&self) -> String {
        String::from_utf8(lock(&self.0.kept).clone()).unwrap()
    }
}

impl Write for Gated {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        drop(self.0.opened.wait_while(lock(&self.0.open), |open| !*open).unwrap());
        let piece = &bytes[..bytes.len().min(1_000)];
        lock(&self.0.kept).extend_from_slice(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn dropped(text: &str) -> u64 {
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    lines.filter(|line| line["event"] == "log_dropped").map(|line| line["dropped"].as_u64().unwrap()).sum()
}

#[test]
fn a_blocked_reader_stalls_nobody_and_what_was_dropped_is_told() {
    let out = Gated::default();
    let sink = Sink::start(Format::Json, out.clone()).unwrap();
    let line = format!("{{\"filler\":\"{}\"}}\n", "x".repeat(1_000));
    let lines = 4 * BUFFER_BYTES / line.len();
    for _ in 0..lines {
        sink.append(&line, false);
    }
    assert!(!sink.flush(Duration::from_millis(50)), "nothing can have been written");
    out.open();
    assert!(sink.flush(Duration::from_secs(10)));
    let text = out.text();
    let kept = text.lines().filter(|found| *found == line.trim_end()).count();
    assert!(kept < lines);
    assert_eq!(kept as u64 + dropped(&text), lines as u64);
    sink.append(&line, false);
    assert!(sink.flush(Duration::from_secs(10)));
    assert_eq!(out.text().len(), text.len() + line.len(), "told once");
}

#[test]
fn lines_of_many_threads_stay_whole() {
    let out = Gated::default();
    out.open();
    let sink = Sink::start(Format::Json, out.clone()).unwrap();
    thread::scope(|scope| {
        for thread in 0..12 {
            let sink = &sink;
            scope.spawn(move || {
                for n in 0..500 {
                    sink.append(&format!("{{\"thread\":{thread},\"n\":{n},\"pad\":\"{}\"}}\n", "p".repeat(n)), false);
                }
            });
        }
    });
    assert!(sink.flush(Duration::from_secs(10)));
    let text = out.text();
    let mut next = [0; 12];
    for line in text.lines() {
        let value: serde_json::Value = serde_json::from_str(line).expect("a whole line");
        if let Some(thread) = value["thread"].as_u64() {
            let n = value["n"].as_u64().unwrap();
            assert!(n >= next[thread as usize], "a thread's lines keep their order");
            next[thread as usize] = n + 1;
        }
    }
    let kept = text.lines().filter(|line| line.contains("thread")).count() as u64;
    assert_eq!(kept + dropped(&text), 6_000);
}

#[test]
fn a_line_appears_soon_without_being_asked_for() {
    for urgent in [false, true] {
        let out = Gated::default();
        out.open();
        let sink = Sink::start(Format::Json, out.clone()).unwrap();
        for round in 1..=3 {
            sink.append("{}\n", urgent);
            let patience = Instant::now() + Duration::from_secs(10);
            while out.text().len() < round * 3 {
                assert!(Instant::now() < patience, "line {round} did not appear");
                thread::sleep(Duration::from_millis(2));
            }
        }
    }
}

#[test]
fn what_is_left_is_written_at_the_end() {
    let out = Gated::default();
    out.open();
    let sink = Sink::start(Format::Json, out.clone()).unwrap();
    sink.append("{}\n", false);
    drop(sink);
    let patience = Instant::now() + Duration::from_secs(10);
    while out.text() != "{}\n" {
        assert!(Instant::now() < patience);
        thread::sleep(Duration::from_millis(2));
    }
}

/// Fails within a line, then works.
struct Breaking {
    kept: Vec<u8>,
    calls: usize,
}

impl Write for Breaking {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.calls += 1;
        match self.calls {
            1 => Err(io::ErrorKind::Interrupted.into()),
            2 => Err(io::ErrorKind::WouldBlock.into()),
            3 => {
                self.kept.extend_from_slice(&bytes[..5]);
                Ok(5)
            }
            4 => Err(io::ErrorKind::StorageFull.into()),
            _ => {
                self.kept.extend_from_slice(bytes);
                Ok(bytes.len())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn after_a_torn_line_the_next_stands_on_its_own() {
    let mut output = Output { out: Breaking { kept: Vec::new(), calls: 0 }, torn: false };
    assert_eq!(output.write(b"{1}\n{2}\n{3}\n"), 2);
    assert_eq!(output.write(b"{4}\n"), 0);
    assert_eq!(output.write(b"{5}\n"), 0);
    assert_eq!(output.out.kept, b"{1}\n{\n{4}\n{5}\n");
}
