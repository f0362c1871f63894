//! Numbers as a reader sees them: at most three significant digits, intervals as `0.52–0.64`.
//!
//! All digits are in `findings.csv` and `report.json`; the page and the terminal are for people.

/// An AUC or a rate in `0..=1`: two decimals, three where two would read `1.00` or `0.00` and hide a difference.
pub fn rate(value: f64) -> String {
    let two = format!("{value:.2}");
    if (two == "1.00" || two == "0.00") && value != 1.0 && value != 0.0 {
        // 0.9996 must not be printed as a perfect 1.000.
        let three = format!("{value:.3}");
        match three.as_str() {
            "1.000" => ">0.999".into(),
            "0.000" => "<0.001".into(),
            _ => three,
        }
    } else {
        two
    }
}

/// The one way to write an interval: its bounds with a dash between them, `0.52-0.64`, and with a word where one is negative and the dash
/// would be read as a sign, `-0.03 to 0.05`. `dash`: an en dash on a page, a hyphen where only ASCII is safe.
#[must_use]
pub fn joined(low: &str, high: &str, dash: char) -> String {
    match [low, high].iter().any(|text| text.starts_with(['-', '−'])) {
        true => format!("{low} to {high}"),
        false => format!("{low}{dash}{high}"),
    }
}

/// An interval of rates with an en dash: `0.52–0.64`.
pub fn interval(bounds: [f64; 2]) -> String {
    joined(&bound(bounds[0]), &bound(bounds[1]), '–')
}

/// An interval of rates in plain ASCII, for terminals and CSV readers: `0.52-0.64`.
pub fn interval_ascii(bounds: [f64; 2]) -> String {
    joined(&bound(bounds[0]), &bound(bounds[1]), '-')
}

/// One end of an interval. Unlike [`rate`] it never carries a `<` or `>`, which would read oddly beside a dash.
fn bound(value: f64) -> String {
    let two = format!("{value:.2}");
    if (two == "1.00" && value < 1.0) || (two == "0.00" && value > 0.0) {
        // Rounded towards the inside of 0..1, so that a bound below 1 is never printed as 1.
        let three = if value > 0.5 {
            (value * 1000.0).floor()
        } else {
            (value * 1000.0).ceil()
        } / 1000.0;
        return format!("{three:.3}");
    }
    two
}

/// A share as a percentage for running text: `99.9 %`, `42 %`, `0.4 %`.
pub fn percent(share: f64) -> String {
    format!("{} %", percent_number(share))
}

/// An interval of shares as percentages: `99.5–100`.
pub fn percent_interval(bounds: [f64; 2]) -> String {
    joined(&percent_bound(bounds[0]), &percent_bound(bounds[1]), '–')
}

/// Like [`percent_number`] without the `>`: 99.96 % becomes 99.9, never 100.
fn percent_bound(share: f64) -> String {
    if share > 0.999 && share < 1.0 {
        "99.9".into()
    } else {
        percent_number(share)
    }
}

fn percent_number(share: f64) -> String {
    let p = share * 100.0;
    if p == 0.0 || p == 100.0 {
        format!("{p:.0}")
    } else if p > 99.9 {
        ">99.9".into()
    } else if !(10.0..99.0).contains(&p) {
        format!("{p:.1}")
    } else {
        format!("{p:.0}")
    }
}

/// Any quantity with three significant digits: `0.0123`, `1.23`, `12.3`, `1,230`.
pub fn significant(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return format!("{value}");
    }
    let magnitude = value.abs().log10().floor() as i32;
    if magnitude >= 3 {
        return grouped(value.round() as i64);
    }
    if magnitude < -4 {
        return format!("{value:.2e}");
    }
    format!("{value:.*}", (2 - magnitude).max(0) as usize)
}

/// A p-value with at most two significant digits: `0.001`, `0.011`, `0.24`, and `<0.0001` below that.
pub fn p_value(p: f64) -> String {
    if p < 0.0001 {
        return "<0.0001".into();
    }
    let digits = (1 - p.log10().floor() as i32).clamp(0, 8) as usize;
    let text = format!("{p:.digits$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// A count that may be an average: whole numbers without decimals, others with three significant digits.
pub fn count(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 9e15 {
        grouped(value as i64)
    } else {
        significant(value)
    }
}

/// So many of something: "1 member", "1,000 members".
pub fn counted(n: usize, what: &str) -> String {
    format!(
        "{} {what}{}",
        grouped(n as i64),
        if n == 1 { "" } else { "s" }
    )
}

/// A [`rate`] inside a sentence: "more than 0.999" rather than ">0.999".
pub fn rate_in_words(value: f64) -> String {
    in_words(&rate(value))
}

/// A [`percent`] inside a sentence.
pub fn percent_in_words(share: f64) -> String {
    in_words(&percent(share))
}

fn in_words(text: &str) -> String {
    text.replace('>', "more than ").replace('<', "less than ")
}

/// A whole number with thousands separated by commas: `35,746,307`.
pub fn grouped(value: i64) -> String {
    let out = dualmd_files::grouped(value.unsigned_abs());
    if value < 0 { format!("−{out}") } else { out }
}

/// A duration for people: `3.2 s`, `4 min 10 s`, `1 h 12 min`.
pub fn seconds(value: f64) -> String {
    if value < 60.0 {
        return format!("{} s", significant(value));
    }
    let total = value.round() as i64;
    if total < 3600 {
        return format!("{} min {} s", total / 60, total % 60);
    }
    format!("{} h {} min", total / 3600, total % 3600 / 60)
}

/// A false-positive target as people say it: 0.01 is `1 %`, 0.001 is `0.1 %`.
pub fn fpr_name(fpr: f64) -> String {
    let p = fpr * 100.0;
    let text = format!("{p:.4}");
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

/// `a`, `a and b`, `a, b and c`.
pub fn list(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [head @ .., last] => format!("{} and {last}", head.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_never_round_to_a_perfect_score() {
        assert_eq!(rate(1.0), "1.00");
        assert_eq!(rate(0.9996), ">0.999");
        assert_eq!(rate(0.998), "0.998");
        assert_eq!(rate(0.0002), "<0.001");
        assert_eq!(rate(0.544), "0.54");
    }

    #[test]
    fn intervals() {
        assert_eq!(interval([0.517, 0.642]), "0.52–0.64");
        assert_eq!(interval([0.9873, 0.99996]), "0.99–0.999");
        assert_eq!(percent_interval([0.995, 1.0]), "99.5–100");
        assert_eq!(interval_ascii([0.0, 1.0]), "0.00-1.00");
        assert_eq!(joined("−0.03", "0.05", '–'), "−0.03 to 0.05");
        assert_eq!(joined("-2", "-1", '-'), "-2 to -1");
    }

    #[test]
    fn quantities() {
        assert_eq!(significant(0.012345), "0.0123");
        assert_eq!(significant(1234.0), "1,234");
        assert_eq!(significant(12.345), "12.3");
        let p_values = [0.001, 0.0108, 0.743, 0.5, 1.0, 0.00004].map(p_value);
        assert_eq!(p_values, ["0.001", "0.011", "0.74", "0.5", "1", "<0.0001"]);
        assert_eq!(grouped(35_746_307), "35,746,307");
        assert_eq!(seconds(250.0), "4 min 10 s");
        assert_eq!(fpr_name(0.001), "0.1 %");
        assert_eq!(fpr_name(0.1), "10 %");
        assert_eq!(list(&["a".into(), "b".into(), "c".into()]), "a, b and c");
    }
}
