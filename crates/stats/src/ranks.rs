//! Placements: what AUC and DeLong's variance are made of.

/// For each `x` the share of `others` below it, ties counting 1/2. In O(n log n).
///
/// The mean over the members, with the non-members as `others`, is the AUC. These are DeLong's structural components
/// V10; the midrank algorithm of Sun & Xu (2014) gets the same numbers as (rank in all - rank in own side) / n.
pub(crate) fn placements(scores: &[f64], others: &[f64]) -> Vec<f64> {
    let mut sorted = others.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    scores
        .iter()
        .map(|&x| {
            let below = sorted.partition_point(|&other| other < x);
            let not_above = sorted.partition_point(|&other| other <= x);
            (below + not_above) as f64 / (2 * sorted.len()) as f64
        })
        .collect()
}

/// Arithmetic mean; `values` must not be empty.
pub(crate) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Unbiased variance (divisor n - 1); NaN for fewer than two values.
pub(crate) fn variance(values: &[f64]) -> f64 {
    let mean = mean(values);
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    if values.len() < 2 {
        f64::NAN
    } else {
        squares / (values.len() - 1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_share() {
        assert_eq!(placements(&[2.0, 0.0, 3.0], &[2.0, 1.0]), [0.75, 0.0, 1.0]);
    }

    #[test]
    fn the_two_zeros_are_one_score() {
        assert_eq!(placements(&[0.0], &[-0.0]), [0.5]);
    }
}
