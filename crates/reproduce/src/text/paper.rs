//! The paper's numbers on text-to-image models: tables 4, 5, 7, 8 and 9 and the right of table 2, as printed there.

use super::super::paper::Metric;

/// Models without or with prompt diversification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Captions {
    /// Each image has one caption.
    One,
    /// One of several is drawn each time.
    Any,
}

/// A number of the paper.
#[derive(Debug)]
pub struct Number {
    /// The table it is compared in.
    pub table: u8,
    /// Where it was measured, short.
    pub place: &'static str,
    /// Attack as this program names it; none for image quality.
    pub attack: Option<&'static str>,
    /// Model as the study names it.
    pub model: &'static str,
    /// With or without prompt diversification.
    pub captions: Captions,
    /// What it is of.
    pub metric: Metric,
    /// The number.
    pub value: f64,
}

/// Places of table 4: data set and version of Stable Diffusion.
const PLACES: [&str; 4] = ["Pokemon 1.5", "Pokemon 2.1", "Naruto 1.5", "Naruto 2.1"];

/// (AUC, TPR at 1 % FPR).
type Pair = (f64, f64);

/// Table 4: (attack, model, numbers in the order of [`PLACES`]). The paper says SecMIA.
const TABLE_4: [(&str, &str, [Pair; 4]); 4] = [
    (
        "secmi",
        "baseline",
        [(0.99, 0.79), (0.98, 0.189), (0.93, 0.475), (0.90, 0.333)],
    ),
    (
        "secmi",
        "student",
        [(0.48, 0.02), (0.54, 0.019), (0.46, 0.005), (0.45, 0.006)],
    ),
    (
        "pia",
        "baseline",
        [(0.46, 0.02), (0.45, 0.012), (0.45, 0.007), (0.47, 0.008)],
    ),
    (
        "pia",
        "student",
        [(0.49, 0.01), (0.47, 0.007), (0.48, 0.006), (0.48, 0.008)],
    ),
];

/// Table 5 (Pokemon, SD 1.5): (model, without, with prompt diversification).
const TABLE_5: [(&str, Pair, Pair); 3] = [
    ("baseline", (0.90, 0.57), (0.45, 0.009)),
    ("dualmd", (0.82, 0.35), (0.52, 0.014)),
    ("student", (0.66, 0.09), (0.46, 0.005)),
];

/// Table 2, right, and table 7: (model, (FID, IS) in the order of [`PLACES`]).
const TABLE_7: [(&str, [Pair; 4]); 3] = [
    (
        "baseline",
        [(0.22, 3.02), (0.44, 2.99), (0.18, 2.16), (0.16, 2.30)],
    ),
    (
        "dualmd",
        [(0.26, 3.34), (0.41, 3.41), (0.18, 2.12), (0.18, 2.55)],
    ),
    (
        "student",
        [(0.44, 3.52), (0.41, 3.55), (0.22, 2.19), (0.20, 2.35)],
    ),
];

/// Table 8 (Pokemon, SD 1.5): (attack, model, without, with prompt diversification).
const TABLE_8: [(&str, &str, Pair, Pair); 4] = [
    ("secmi", "baseline", (0.99, 0.79), (0.99, 1.00)),
    ("secmi", "student", (0.48, 0.02), (0.44, 0.01)),
    ("pia", "baseline", (0.46, 0.02), (0.61, 0.03)),
    ("pia", "student", (0.49, 0.01), (0.50, 0.02)),
];

/// Table 9 (Pokemon, SD 1.5): (rounds, numbers). The paper does not say with which models; 0.5 fits those with prompt
/// diversification only, as table 5 shows.
const TABLE_9: [(&str, Pair); 2] = [("rounds@2", (0.53, 0.024)), ("rounds@3", (0.51, 0.048))];

/// All of them.
pub fn numbers() -> Vec<Number> {
    let mut all = Vec::new();
    let mut add = |table, place, attack, model, captions, metrics: [Metric; 2], (a, b): Pair| {
        all.extend(
            metrics
                .into_iter()
                .zip([a, b])
                .map(|(metric, value)| Number {
                    table,
                    place,
                    attack,
                    model,
                    captions,
                    metric,
                    value,
                }),
        );
    };
    let leak = [Metric::Auc, Metric::Tpr];
    let one_and_any = |(a, b): (Pair, Pair)| [(Captions::One, a), (Captions::Any, b)];
    for (attack, model, cells) in TABLE_4 {
        for (place, pair) in PLACES.into_iter().zip(cells) {
            add(4, place, Some(attack), model, Captions::One, leak, pair);
        }
    }
    for (model, one, any) in TABLE_5 {
        for (captions, pair) in one_and_any((one, any)) {
            add(5, PLACES[0], Some("sim-mean"), model, captions, leak, pair);
        }
    }
    for (model, cells) in TABLE_7 {
        for (place, pair) in PLACES.into_iter().zip(cells) {
            let metrics = [Metric::Fd, Metric::Is];
            add(7, place, None, model, Captions::One, metrics, pair);
        }
    }
    for (attack, model, one, any) in TABLE_8 {
        for (captions, pair) in one_and_any((one, any)) {
            add(8, PLACES[0], Some(attack), model, captions, leak, pair);
        }
    }
    for (attack, pair) in TABLE_9 {
        add(
            9,
            PLACES[0],
            Some(attack),
            "dualmd",
            Captions::Any,
            leak,
            pair,
        );
    }
    let (_, one, any) = TABLE_5[1];
    for (captions, pair) in one_and_any((one, any)) {
        add(
            9,
            PLACES[0],
            Some("sim-mean"),
            "dualmd",
            captions,
            leak,
            pair,
        );
    }
    all
}

/// (place, number) wherever the paper has it, in its order.
pub fn of(
    table: u8,
    attack: Option<&str>,
    model: &str,
    captions: Captions,
    metric: Metric,
) -> Vec<(&'static str, f64)> {
    let wanted = (table, attack, model, captions, metric);
    numbers()
        .into_iter()
        .filter(|n| (n.table, n.attack, n.model, n.captions, n.metric) == wanted)
        .map(|n| (n.place, n.value))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_papers_cells() {
        let values = |table, attack, model, captions, metric| -> Vec<f64> {
            let found = of(table, attack, model, captions, metric);
            found.into_iter().map(|(_, v)| v).collect()
        };
        let (one, any) = (Captions::One, Captions::Any);
        assert_eq!(
            values(4, Some("secmi"), "baseline", one, Metric::Auc),
            [0.99, 0.98, 0.93, 0.90]
        );
        assert_eq!(
            values(5, Some("sim-mean"), "student", any, Metric::Tpr),
            [0.005]
        );
        assert_eq!(values(7, None, "dualmd", one, Metric::Is)[3], 2.55);
        assert_eq!(values(8, Some("pia"), "baseline", any, Metric::Auc), [0.61]);
        assert_eq!(
            values(9, Some("rounds@3"), "dualmd", any, Metric::Tpr),
            [0.048]
        );
        assert!(values(4, Some("pia"), "baseline", any, Metric::Auc).is_empty());
    }
}
