//! The process's own metrics, with processor time in fractions of a second.

use prometheus::core::{Collector, Desc};
use prometheus::process_collector::ProcessCollector;
use prometheus::proto;
use rustix::time::{ClockId, clock_gettime};

const CPU_SECONDS: &str = "process_cpu_seconds_total";

/// The library's collector, which counts whole seconds of processor time: an idle process takes minutes for one, and a
/// rate over less is nothing or far too much.
pub(super) struct Process(ProcessCollector);

impl Process {
    pub(super) fn new() -> Self {
        Self(ProcessCollector::for_self())
    }
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        self.0.desc()
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let mut families = self.0.collect();
        let family = families.iter_mut().find(|family| family.name() == CPU_SECONDS);
        if let Some(metric) = family.and_then(|family| family.mut_metric().first_mut()) {
            let mut counter = proto::Counter::default();
            counter.set_value(cpu_seconds());
            metric.set_counter(counter);
        }
        families
    }
}

/// Processor time of all threads since the start, in user and in kernel mode (clock_gettime(2),
/// `CLOCK_PROCESS_CPUTIME_ID`).
fn cpu_seconds() -> f64 {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    spent.tv_sec as f64 + spent.tv_nsec as f64 / 1e9
}
