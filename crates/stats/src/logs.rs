//! Sums of exponentials, taken as logarithms.

/// ln of the sum of e^term; minus infinity for no terms.
pub(crate) fn ln_sum_exp(terms: &[f64]) -> f64 {
    let most = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if most == f64::NEG_INFINITY {
        return most;
    }
    most + terms.iter().map(|t| (t - most).exp()).sum::<f64>().ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_far_from_one_keep_their_digits() {
        assert_eq!(ln_sum_exp(&[-2000.0, -2000.0]), -2000.0 + 2.0_f64.ln());
        assert_eq!(ln_sum_exp(&[0.0, f64::NEG_INFINITY]), 0.0);
        assert_eq!(ln_sum_exp(&[f64::NEG_INFINITY; 2]), f64::NEG_INFINITY);
        assert_eq!(ln_sum_exp(&[]), f64::NEG_INFINITY);
    }
}
