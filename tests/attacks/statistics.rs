//! Whether two samples come from one distribution: ranks, not means, so that a busy machine's outliers count little.

/// Mann and Whitney's test of two samples.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Comparison {
    /// Mann and Whitney's U of the first sample.
    pub(crate) u: f64,
    /// The chance that a value of the first sample is greater than one of the second: 0.5 where they are alike.
    pub(crate) auc: f64,
    /// How likely so great a difference is by chance, two-sided, by the normal approximation.
    pub(crate) p: f64,
    /// The greatest difference of the two cumulated distributions (Kolmogorov and Smirnov).
    pub(crate) ks: f64,
}

impl Comparison {
    pub(crate) fn of(first: &[f64], second: &[f64]) -> Self {
        let (n, m) = (first.len() as f64, second.len() as f64);
        let mut all: Vec<_> =
            first.iter().map(|value| (*value, true)).chain(second.iter().map(|value| (*value, false))).collect();
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (mut rank_sum, mut ties, mut before, mut ks) = (0.0, 0.0, 0.0, 0.0_f64);
        let (mut seen_first, mut seen_second) = (0.0, 0.0);
        for alike in all.chunk_by(|a, b| a.0 == b.0) {
            let size = alike.len() as f64;
            let of_first = alike.iter().filter(|(_, is_first)| *is_first).count() as f64;
            rank_sum += of_first * (before + (size + 1.0) / 2.0);
            ties += size * size * size - size;
            before += size;
            seen_first += of_first;
            seen_second += size - of_first;
            ks = ks.max((seen_first / n - seen_second / m).abs());
        }
        let u = rank_sum - n * (n + 1.0) / 2.0;
        let total = n + m;
        let deviation = (n * m / 12.0 * (total + 1.0 - ties / (total * (total - 1.0)))).sqrt();
        let z = (((u - n * m / 2.0).abs() - 0.5).max(0.0)) / deviation;
        Self { u, auc: u / (n * m), p: two_sided(z), ks }
    }

    /// The effect size from -1 to 1: 0 where they are alike.
    pub(crate) fn rank_biserial(&self) -> f64 {
        2.0 * self.auc - 1.0
    }
}

/// The value below which this share of the sample lies.
pub(crate) fn quantile(sample: &[f64], share: f64) -> f64 {
    let mut sorted = sample.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[((sorted.len() - 1) as f64 * share).round() as usize]
}

/// The normal distribution beyond -z and z (Abramowitz and Stegun, 26.2.17).
fn two_sided(z: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * z);
    let terms = [0.319_381_530, -0.356_563_782, 1.781_477_937, -1.821_255_978, 1.330_274_429];
    let sum = terms.iter().rev().fold(0.0, |sum, term| (sum + term) * t);
    (2.0 * (-z * z / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt() * sum).min(1.0)
}

#[test]
fn comparisons_are_those_of_the_books() {
    // scipy.stats.mannwhitneyu([1, 2, 4, 6, 6], [3, 5, 6, 7, 8, 9], method="asymptotic"): U = 6, p = 0.1173.
    let compared = Comparison::of(&[1.0, 2.0, 4.0, 6.0, 6.0], &[3.0, 5.0, 6.0, 7.0, 8.0, 9.0]);
    assert_eq!(compared.u, 6.0);
    assert!((compared.auc - 0.2).abs() < 1e-9 && (compared.rank_biserial() + 0.6).abs() < 1e-9);
    assert!((compared.p - 0.1173).abs() < 1e-4, "{compared:?}");
    assert!((compared.ks - 0.5).abs() < 1e-9, "{compared:?}");
    assert!((two_sided(1.96) - 0.05).abs() < 1e-4);
    assert_eq!(quantile(&[3.0, 1.0, 2.0], 0.5), 2.0);
}
