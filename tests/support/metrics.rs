//! What `/metrics` says, as numbers by series.

use std::collections::BTreeMap;

/// Values by series; a series is its name and its labels in the order of their names.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    /// Reads Prometheus' text format; panics on a line that is not of it.
    pub(crate) fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        Self(
            lines
                .map(|line| {
                    let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line}"));
                    let value = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
                    (canonical(series), value)
                })
                .collect(),
        )
    }

    /// The value of one series such as `vestibule_users{state="active"}`, its labels in any order; panics where there
    /// is none.
    pub(crate) fn value(&self, series: &str) -> f64 {
        self.find(series).unwrap_or_else(|| panic!("no series {series}"))
    }

    pub(crate) fn find(&self, series: &str) -> Option<f64> {
        self.0.get(&canonical(series)).copied()
    }

    /// The sum of all series of one name.
    pub(crate) fn sum(&self, name: &str) -> f64 {
        let of_name = |series: &str| series.split('{').next() == Some(name);
        self.0.iter().filter(|(series, _)| of_name(series)).map(|(_, value)| value).sum()
    }

    /// The series of one name that are not zero, with their values, in the order of their labels.
    pub(crate) fn counted(&self, name: &str) -> Vec<(String, f64)> {
        let of_name = |series: &str| series.split('{').next() == Some(name);
        let found = self.0.iter().filter(|(series, value)| of_name(series) && **value != 0.0);
        found.map(|(series, value)| (series[name.len()..].to_owned(), *value)).collect()
    }
}

/// The same series with its labels in order. No label of ours holds a comma or a brace.
fn canonical(series: &str) -> String {
    let Some((name, labels)) = series.split_once('{') else { return series.to_owned() };
    let mut labels: Vec<_> = labels.trim_end_matches('}').split(',').map(str::trim).collect();
    labels.sort_unstable();
    format!("{name}{{{}}}", labels.join(","))
}
